-- A request with an Idempotency-Key asks whether it is the first. Only the clock and what jobs say decide, never a process that may be dead.
-- ARGV: name, fingerprint, fence, lease_ms, node, looked ('' | '*': its disk is empty | the ids for which this caller has looked on its disk)
-- -> {'mine'} | {'other'} | {'busy', ms} | {'done', status or '', location, body, id, …}
--    {'look', ids}: the disk may know of them; '': of anything, for this ledger has not been compared with a disk yet
local t, fp, fence, lease, node, looked = P .. 'once:' .. ARGV[1], ARGV[2], ARGV[3], num(ARGV[4]), ARGV[5], ARGV[6]
local C = load(t)
local function take()
  redis.call('HSET', t, 'fp', fp, 'fence', fence, 'until', now + lease, 'ids', '', 'of', 1, 'made', 0)
  redis.call('PEXPIRE', t, ONCE_KEPT)
  return {'mine'}
end

if not C.fence then
  if looked == '*' then redis.call('SET', P .. 'blank:' .. node, '1', 'PX', ONCE_KEPT) end
  if redis.call('EXISTS', P .. 'epoch', P .. 'blank:' .. node) == 0 then return {'look', ''} end
  return take()
end
if C.fence == fence then return {'mine'} end         -- asked again, because the answer was lost
local made, of, left = num(C.made), num(C.of), num(C['until']) - now
-- Of a request that was released nothing counts but a job that the disk may know of: a refused one may be corrected.
if C.fp ~= fp and (made > 0 or num(C['until']) > 0) then return {'other'} end
local found = made > 0 and (made >= of or looked == C.ids)   -- of the others nothing is left
if found then
  local ids = {}
  for field in pairs(C) do
    if string.sub(field, 1, 2) == 'j:' then ids[#ids + 1] = string.sub(field, 3) end
  end
  table.sort(ids)                                    -- UUIDv7: the order in which they came
  return {'done', C.status or '', C.location or '', C.body or '', unpack(ids)}
end
if left > 0 and left <= 2 * lease then return {'busy', left} end
if C.ids ~= '' and looked ~= C.ids then
  if C.node == node then return {'look', C.ids} end
  -- Another node's disk may hold them, and its reconciliation will say so.
  if left > -180000 then return {'busy', 180000 + left} end
end
-- Whoever held it is dead, or stands still: should its job be found one day, it is not wanted any more.
if C.ids ~= '' then redis.call('HSET', t, 'dropped', (C.dropped or '') .. ',' .. C.ids) end
return take()
