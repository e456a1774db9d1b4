-- A user forgets a finished job. ARGV: id, owner -> 'done' | 'missing' | 'conflict'
local v = redis.call('HMGET', job_key(ARGV[1]), 'state', 'owner', 'node')
if not v[1] then return 'missing' end
if not JOB_OVER[v[1]] then return 'conflict' end
redis.call('ZADD', P .. 'releasing:' .. v[3], now, ARGV[1])
forget(ARGV[1], v[2])
redis.call('ZADD', P .. 'forgotten', now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', P .. 'forgotten', '-inf', now - 90000000)
return 'done'
