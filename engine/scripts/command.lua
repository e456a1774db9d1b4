-- A user's command. ARGV: id, cancel | pause | resume | retry
-- -> {'done' | 'already' | 'conflict' | 'source_gone' | 'missing', state, tid, mint, …} (tokens to send)
local id, action = ARGV[1], ARGV[2]
local job = job_key(id)
local J = load(job)
if not J.state then return {'missing', ''} end
local answer = {'done', ''}

local function each(fn)
  for n = 0, num(J.transfers) - 1 do
    local tid = id .. '/' .. n
    local T = load(key_of(tid))
    if not OVER[T.state] then fn(tid, T) end
  end
end

local function wake(tid)
  local T = load(key_of(tid))
  if not T.state or OVER[T.state] then return end
  look_soon(tid, now)
  -- Whoever commands again and again sends no more tokens than there is room for: those of before still travel.
  if demand(tid, T) > 0 and num(T.tokens) <= num(T.window) then
    redis.call('HINCRBY', key_of(tid), 'tokens', 1)
    redis.call('HSET', key_of(tid), 'touched', now)
    answer[#answer + 1] = tid
    answer[#answer + 1] = T.mint
  end
end

local function cancel()
  if J.state == 'cancelled' or J.state == 'cancelling' then return 'already' end
  if JOB_OVER[J.state] then return 'conflict' end
  set_state(id, 'cancelling')
  redis.call('ZREM', P .. 'receiving', id)
  emit(id, 'state')
  if J.state == 'receiving' then redis.call('HSETNX', job, 'retain_ms', 86400000) end      -- the reception will find out
  each(function(tid)
    if cancel_transfer(tid) then wake(tid) end
  end)
  finish_job(id)
  return 'done'
end

local function pause()
  if J.state == 'paused' then return 'already' end
  if J.state ~= 'queued' and J.state ~= 'running' then return 'conflict' end
  each(function(tid) redis.call('HSET', key_of(tid), 'hold', 'paused') end)
  set_state(id, 'paused')
  emit(id, 'state')
  return 'done'
end

local function resume()
  if J.state == 'queued' or J.state == 'running' then return 'already' end
  if J.state ~= 'paused' then return 'conflict' end
  local begun = false
  for n = 0, num(J.transfers) - 1 do
    if redis.call('HGET', key_of(id .. '/' .. n), 'state') ~= 'pending' then begun = true end
  end
  each(function(tid)
    redis.call('HSET', key_of(tid), 'hold', '')
    wake(tid)
  end)
  set_state(id, begun and 'running' or 'queued')
  emit(id, 'state')
  return 'done'
end

local function retry()
  if J.state ~= 'failed' and J.state ~= 'partially_succeeded' then return 'conflict' end
  if num(J['until']) <= now then return 'source_gone' end
  next_run(id, J, num(J.run) + 1)
  for n = 0, num(J.transfers) - 1 do
    local tid = id .. '/' .. n
    local T = load(key_of(tid))
    if T.state ~= 'succeeded' then
      begin_again(tid, T)
      redis.call('HSET', key_of(tid), 'floor', 0, 'attempts', 0, 'restarts', 0, 'error', '', 'tokens', 0)
      queue_up(claim_of(T), tid)
      redis.call('ZADD', P .. 'active', now, tid)
      wake(tid)
    end
  end
  set_state(id, 'queued')
  emit(id, 'state')
  return 'done'
end

answer[1] = ({cancel = cancel, pause = pause, resume = resume, retry = retry})[action]()
answer[2] = redis.call('HGET', job, 'state') or ''
return answer
