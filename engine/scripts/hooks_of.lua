-- A job's deliveries. ARGV: id  ->  {delivery, JSON, when it is tried next or '', …}
local flat, found = redis.call('HGETALL', job_key(ARGV[1]) .. ':hooks'), {}
for i = 1, #flat, 2 do
  found[#found + 1] = flat[i]
  found[#found + 1] = flat[i + 1]
  found[#found + 1] = redis.call('ZSCORE', P .. 'hooks', flat[i]) or ''
end
return found
