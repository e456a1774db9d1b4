-- A part is stored. The set of receipts decides completion; exactly one call flips the transfer to completing.
-- ARGV: tid, mint, fence, number, size, packed receipt, proved ('1' | '')
-- -> {'ok' | 'stale', lane, mint, extra, 1 when a progress event is still owed}
local tid, mint, fence, number, size = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local t, id = key_of(tid), job_of(tid)
if redis.call('HGET', t .. ':fences', number) ~= fence then return {'stale', '', 0, 0, 0} end
release(t, number)
redis.call('HDEL', t .. ':tries', number, 'c' .. number)
redis.call('HDEL', t .. ':errors', number)
if redis.call('HSETNX', t .. ':receipts', number, ARGV[6]) == 1 then
  redis.call('HINCRBY', t, 'sent', size)
  redis.call('HINCRBY', P .. 'totals', 'sent', size)
  if ARGV[7] == '' then redis.call('HINCRBY', t, 'unproved', 1) end
end
redis.call('HSET', t, 'touched', now)
local v = redis.call('HMGET', t, 'state', 'total', 'ending')
local owed = 0
local whole = redis.call('HLEN', t .. ':receipts') == tonumber(v[2])
-- While the file is being received, whether it is the right one is not known: accept.lua goes on here then.
if v[1] == 'uploading' and v[3] == '' and whole and redis.call('HGET', job_key(id), 'state') ~= 'receiving' then
  redis.call('HSET', t, 'state', 'completing')
  touch_job(id)
  emit(id, 'transfer')
else
  owed = progress(id)
end
local on = onward(tid, mint)
return {'ok', on[1], on[2], on[3], owed}
