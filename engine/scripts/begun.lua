-- The provider opened a session: parts may go. A changed key (on_conflict rename) comes with it.
-- ARGV: tid, mint, fence, session JSON, key or '', url or ''   ->  {'ok' | 'stale', lane, mint, extra}
local tid, mint, fence = ARGV[1], ARGV[2], ARGV[3]
local t = key_of(tid)
if redis.call('HGET', t .. ':fences', 0) ~= fence then return {'stale', '', 0, 0} end
release(t, 0)
redis.call('HDEL', t .. ':tries', '0', 'c0')
redis.call('HDEL', t .. ':errors', '0')
redis.call('HSET', t, 'session', ARGV[4], 'state', 'uploading', 'touched', now)
if ARGV[5] ~= '' then redis.call('HSET', t, 'key', ARGV[5], 'url', ARGV[6]) end
touch_job(job_of(tid))
emit(job_of(tid), 'transfer')
local on = onward(tid, mint)
return {'ok', on[1], on[2], on[3]}
