-- A source is being read into the spool: so many bytes are there. What was shown as received does not shrink when it begins again.
-- ARGV: tid, fence, count   ->  1 | 0 (the lease is lost)
local t, id = key_of(ARGV[1]), job_of(ARGV[1])
if redis.call('HGET', t .. ':fences', 0) ~= ARGV[2] then return 0 end
if tonumber(ARGV[3]) > num(redis.call('HGET', job_key(id), 'received')) then
  redis.call('HSET', job_key(id), 'received', ARGV[3])
  touch_job(id)
  progress(id)
end
return 1
