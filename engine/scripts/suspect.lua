-- The ledger came back from an older state: transfers under way may have sessions at their provider that it does not know.
-- -> how many transfers were marked
local all = redis.call('ZRANGE', P .. 'active', 0, -1)
for _, tid in ipairs(all) do
  if redis.call('EXISTS', key_of(tid)) == 1 then redis.call('HSET', key_of(tid), 'lost_begin', 1) end
  look_soon(tid, now)
end
return #all
