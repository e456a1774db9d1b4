-- How a delivery stands. ARGV: delivery, JSON, delay_ms until it is tried again ('': no more)  ->  1, or 0 when it is not known any more
local one = ARGV[1]
local hooks = job_key(string.match(one, '^[^.]*')) .. ':hooks'
if redis.call('HEXISTS', hooks, one) == 0 then return 0 end
redis.call('HSET', hooks, one, ARGV[2])
if ARGV[3] == '' then redis.call('ZREM', P .. 'hooks', one)
else redis.call('ZADD', P .. 'hooks', now + tonumber(ARGV[3]), one) end
return 1
