-- Deliveries that are due, claimed for a while: when whoever has them dies, they are due again.
-- ARGV: limit, claim_ms  ->  {delivery, JSON, …}
local found = {}
for _, one in ipairs(redis.call('ZRANGEBYSCORE', P .. 'hooks', '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))) do
  local standing = redis.call('HGET', job_key(string.match(one, '^[^.]*')) .. ':hooks', one)
  if standing then
    redis.call('ZADD', P .. 'hooks', now + tonumber(ARGV[2]), one)
    found[#found + 1] = one
    found[#found + 1] = standing
  else
    redis.call('ZREM', P .. 'hooks', one)
  end
end
return found
