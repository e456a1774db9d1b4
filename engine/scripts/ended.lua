-- The session of an ending transfer is gone at the provider: it is over (failed, cancelled), or begins again (restart).
-- ARGV: tid, mint, fence   ->  {'ok' | 'stale', lane, mint, extra, final state of the job or ''}
local tid, mint, fence = ARGV[1], ARGV[2], ARGV[3]
local t = key_of(tid)
if redis.call('HGET', t .. ':fences', 0) ~= fence then return {'stale', '', 0, 0, ''} end
release(t, 0)
local T = load(t)
redis.call('HSET', t, 'lost_begin', 0)
if T.ending ~= 'restart' then return {'ok', '', 0, 0, finish_transfer(tid, T.ending)} end
begin_again(tid, T)
if redis.call('HGET', job_key(job_of(tid)), 'state') == 'receiving' then      -- see accept.lua: others go first
  redis.call('ZREM', claim_of(T), tid)
  queue_up(claim_of(T), tid)
  if T.whole == '1' then redis.call('HSET', t, 'hold', 'receiving') end
  look_soon(redis.call('ZRANGE', claim_of(T), 0, 0)[1], now)
end
look_soon(tid, now)
emit(job_of(tid), 'transfer')
local on = onward(tid, mint)
return {'ok', on[1], on[2], on[3], ''}
