-- Leases of steps that are still being worked.
-- ARGV: lease_ms, then tid, number, fence …   ->  list of 1 (still yours) | 0 (somebody else's, or over)
local answer = {}
for i = 2, #ARGV, 3 do
  local t = key_of(ARGV[i])
  local mine = redis.call('HGET', t .. ':fences', ARGV[i + 1]) == ARGV[i + 2]
  if mine then redis.call('ZADD', t .. ':leases', now + ARGV[1], ARGV[i + 1]) end
  answer[#answer + 1] = mine and 1 or 0
end
return answer
