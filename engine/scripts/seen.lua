-- The source of a job was looked at: its size and pins are known, and each of its transfers has its plan. Also plans one transfer anew,
-- when its stores did not copy the source by themselves.
-- ARGV: tid, mint, fence, size, crc32c or '', sha256 or '', spec JSON, {"0": plan, ...} JSON by transfer, keep_ms
--   plan: as in accept.lua   ->  {'ok' | 'stale', lane, mint, extra}
local tid, mint, fence, size = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local t, id = key_of(tid), job_of(tid)
if redis.call('HGET', t .. ':fences', 0) ~= fence then return {'stale', '', 0, 0} end
if redis.call('HGET', job_key(id), 'size') == '' then redis.call('HINCRBY', P .. 'totals', 'received', size) end
redis.call('HSET', job_key(id), 'spec', ARGV[7], 'size', size, 'received', size, 'keep_ms', ARGV[9])
if ARGV[5] ~= '' then redis.call('HSET', job_key(id), 'crc32c', ARGV[5], 'sha256', ARGV[6]) end
for n, plan in pairs(cjson.decode(ARGV[8])) do
  local one = id .. '/' .. n
  local T = load(key_of(one))
  if not OVER[T.state] and T.ending == '' then
    local claim = claim_of(T)
    clear_work(key_of(one))
    redis.call('HSET', key_of(one), 'state', 'pending', 'size', size, 'key', plan.key, 'claim', plan.claim, 'url', plan.url,
      'fingerprint', plan.fingerprint, 'part_size', plan.part_size, 'total', plan.total, 'available', plan.total, 'window', plan.window,
      'whole', plan.whole and 1 or 0, 'ordered', plan.ordered and 1 or 0)
    if T.claim ~= plan.claim then
      redis.call('ZREM', claim, one)
      queue_up(P .. 'claim:' .. T.destination .. ':' .. plan.claim, one)
    end
    look_soon(one, now)
  end
end
touch_job(id)
emit(id, 'transfer')
local on = onward(tid, mint)
return {'ok', on[1], on[2], on[3]}
