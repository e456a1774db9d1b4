-- The request that holds an Idempotency-Key lives; with ids, its bytes have come and are about to be made these jobs.
-- ARGV: name, fingerprint, fence, lease_ms, node, id, …   ->  1 | 0 (another request has taken it over)
local t = P .. 'once:' .. ARGV[1]
local held = redis.call('HGET', t, 'fence')
if held and held ~= ARGV[3] then return 0 end
if not held then redis.call('HSET', t, 'ids', '', 'of', 1, 'made', 0) end   -- Redis lost it meanwhile
redis.call('HSET', t, 'fp', ARGV[2], 'fence', ARGV[3], 'until', now + num(ARGV[4]))
if ARGV[6] then
  local ids = {unpack(ARGV, 6)}
  redis.call('HSET', t, 'ids', table.concat(ids, ','), 'of', #ids, 'node', ARGV[5])
end
redis.call('PEXPIRE', t, ONCE_KEPT)
return 1
