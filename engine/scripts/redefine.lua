-- The destination's definition is another one than when the transfer was planned: it begins again, on the new one. A session at the old
-- one cannot be reached any more; it is put on record as an orphan.
-- ARGV: tid, mint, fence, plan JSON {key, claim, url, fingerprint, part_size, total, window, whole, ordered}   ->  {'ok' | 'stale', lane, mint, extra}
local tid, mint, fence = ARGV[1], ARGV[2], ARGV[3]
local plan = cjson.decode(ARGV[4])
local t = key_of(tid)
local T = load(t)
if not T.state or T.ending ~= '' or T.fingerprint == plan.fingerprint then return {'stale', '', 0, 0} end
local held = redis.call('HVALS', t .. ':fences')
local mine = false
for _, one in ipairs(held) do mine = mine or one == fence end
if not mine then return {'stale', '', 0, 0} end
if T.session ~= '' then
  leave_behind(tid, T)
end
redis.call('ZREM', claim_of(T), tid)
begin_again(tid, T)
redis.call('HSET', t, 'key', plan.key, 'claim', plan.claim, 'url', plan.url, 'fingerprint', plan.fingerprint, 'part_size', plan.part_size,
  'total', plan.total, 'available', plan.total, 'window', plan.window, 'whole', plan.whole and 1 or 0, 'ordered', plan.ordered and 1 or 0, 'lost_begin', 0)
queue_up(P .. 'claim:' .. T.destination .. ':' .. plan.claim, tid)
look_soon(tid, now)
touch_job(job_of(tid))
emit(job_of(tid), 'transfer')
local on = onward(tid, mint)
return {'ok', on[1], on[2], on[3]}
