-- The result of a destination's check, for whoever asked and as the destination's health. ARGV: request, destination, JSON -> 'ok'
redis.call('SET', P .. 'check:' .. ARGV[1], ARGV[3], 'PX', 600000)
redis.call('HSET', P .. 'health', ARGV[2], ARGV[3])
return 'ok'
