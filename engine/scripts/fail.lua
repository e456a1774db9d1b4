-- A step did not succeed. The decision was taken outside (engine/retry.py); here it is recorded.
-- ARGV: tid, mint, fence, number, kind, error JSON, delay_ms, step, the failure as it is remembered (JSON)
--   kind: retry (due again), snooze (given back: no attempt spent), restart (session lost: begin again, once), fail (the transfer ends),
--         give_up (the end itself cannot be reached: the session is put on record as an orphan)
-- -> {'ok' | 'stale', lane, mint, extra, final state of the job or ''}
local tid, mint, fence, number, kind, why, delay = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local t, id = key_of(tid), job_of(tid)
if redis.call('HGET', t .. ':fences', number) ~= fence then return {'stale', '', 0, 0, ''} end
release(t, number)
local T = load(t)
if kind ~= 'snooze' and (T.ending == '' or ARGV[8] == 'end') then remember_failure(tid, cjson.decode(ARGV[9])) end
if kind == 'give_up' then
  leave_behind(tid, T)
  return {'ok', '', 0, 0, finish_transfer(tid, T.ending == 'restart' and 'failed' or T.ending)}
end
if kind ~= 'fail' and (ARGV[8] == 'begin' or ARGV[8] == 'whole') then   -- the answer failed or was not waited for, perhaps not the session
  redis.call('HSET', t, 'lost_begin', 1)
end
if T.ending ~= '' and ARGV[8] ~= 'end' then
  kind = 'none'                                    -- the transfer is ending: this step is nobody's concern any more
elseif kind == 'restart' and num(T.restarts) >= 1 then
  kind = 'fail'
end
if kind == 'snooze' then
  redis.call('HINCRBY', t .. ':tries', number, -1)
  redis.call('HINCRBY', t, 'attempts', -1)
  redis.call('ZADD', t .. ':due', now + delay, number)
elseif kind == 'retry' then
  local error = cjson.decode(why)
  local last = cjson.decode(redis.call('HGET', t .. ':errors', number) or '{}')
  error.since = last.since or now
  error.alike = last.code == error.code and num(last.alike) + 1 or 1        -- failures of this kind in a row
  error.at = now
  redis.call('HSET', t .. ':errors', number, cjson.encode(error))
  redis.call('ZADD', t .. ':due', now + delay, number)
elseif kind == 'restart' then
  redis.call('HINCRBY', t, 'restarts', 1)
  start_ending(tid, T, 'restart', why)
elseif kind == 'fail' then
  if T.ending == '' and T.size == '' then               -- the source cannot be had, by none of the transfers; nothing was made
    local final = ''
    for n = 0, num(redis.call('HGET', job_key(id), 'transfers')) - 1 do
      local one = id .. '/' .. n
      if not OVER[redis.call('HGET', key_of(one), 'state')] then
        redis.call('HSET', key_of(one), 'error', why)
        if one ~= tid then remember_failure(one, cjson.decode(ARGV[9])) end
        final = finish_transfer(one, 'failed')
      end
    end
    return {'ok', '', 0, 0, final}
  end
  if T.ending == '' then
    start_ending(tid, T, 'failed', why)
    if T.state == 'pending' and T.lost_begin == '0' then      -- begin was refused: nothing was made
      return {'ok', '', 0, 0, finish_transfer(tid, 'failed')}
    end
  else
    redis.call('HSET', t, 'error', why)
  end
end
look_soon(tid, now + math.max(delay, 1))
touch_job(id)
emit(id, 'transfer')
local on = onward(tid, mint)
return {'ok', on[1], on[2], on[3], ''}
