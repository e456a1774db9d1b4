-- How a delivery stands. ARGV: delivery, JSON, delay_ms until it is tried again ('': no more), the JSON from which it was tried ('': any)
-- ->  1, or 0 when it is not known any more, or somebody else noted something meanwhile: an outcome that comes too late changes nothing
local one = ARGV[1]
local hooks = job_key(string.match(one, '^[^.]*')) .. ':hooks'
local held = redis.call('HGET', hooks, one)
if not held or (ARGV[4] ~= '' and held ~= ARGV[4]) then return 0 end
redis.call('HSET', hooks, one, ARGV[2])
if ARGV[3] == '' then redis.call('ZREM', P .. 'hooks', one)
else redis.call('ZADD', P .. 'hooks', now + tonumber(ARGV[3]), one) end
return 1
