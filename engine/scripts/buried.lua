-- A session on record is gone at its provider. ARGV: transfer, the JSON as it was read -> 1, or 0 when another stands there by now
if redis.call('HGET', P .. 'orphans', ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', P .. 'orphans', ARGV[1])
