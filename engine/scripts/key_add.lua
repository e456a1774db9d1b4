-- A new API key. ARGV: id, JSON, expires (ms, 0: never)  ->  1 | 0 when the id is taken
if redis.call('HSETNX', P .. 'key:' .. ARGV[1], 'record', ARGV[2]) == 0 then return 0 end
redis.call('HSET', P .. 'key:' .. ARGV[1], 'expires', ARGV[3])
redis.call('SADD', P .. 'keys', ARGV[1])
return 1
