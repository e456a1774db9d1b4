-- The key that on_conflict chose goes on record before anything is made there: later attempts look at it, not at the first.
-- ARGV: tid, fence, key, url   ->  1 | 0 (the lease is lost)
local t = key_of(ARGV[1])
if redis.call('HGET', t .. ':fences', 0) ~= ARGV[2] then return 0 end
redis.call('HSET', t, 'key', ARGV[3], 'url', ARGV[4])
return 1
