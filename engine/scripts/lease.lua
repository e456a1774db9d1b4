-- A token asks for one piece of work on a transfer. The attempt is counted here, before the work.
-- ARGV: tid, mint, fence, lease_ms, poison_limit, poison error JSON
-- -> {'none', reason}
--  | {'work', step, number, attempt, session, ending, lost_begin, intent, transfer JSON, run, job spec, size, crc32c,
--     first failure, now, code of the last failure or '', how many of its kind came in a row}
local tid, mint, fence, lease_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local t, id = key_of(tid), job_of(tid)
local T = load(t)
if not T.state then return {'none', 'gone'} end
local own = T.mint == mint
local tokens = num(T.tokens)

local function nothing(reason)
  if own then redis.call('HSET', t, 'tokens', math.max(0, tokens - 1)) end
  return {'none', reason}
end

if OVER[T.state] then return nothing('over') end
local work = demand(tid, T)
if work == 0 then return nothing('idle') end

local function step_of()
  if T.ending ~= '' then return 'end' end
  if T.size == '' then return 'look' end
  if T.state == 'completing' then return 'complete' end
  if T.whole == '1' then return 'whole' end
  return T.state == 'pending' and 'begin' or 'part'
end

local function next_part()
  local due = redis.call('ZRANGEBYSCORE', t .. ':due', '-inf', now, 'LIMIT', 0, 1)[1]
  if due then return due end
  local late = redis.call('ZRANGEBYSCORE', t .. ':leases', '-inf', now, 'LIMIT', 0, 1)[1]
    or redis.call('ZRANGEBYSCORE', t .. ':leases', '(' .. (now + num(T.lease_max)), '+inf', 'LIMIT', 0, 1)[1]
  if late then return late end
  return redis.call('HINCRBY', t, 'next', 1) - 1
end

local step = step_of()
local number = step == 'part' and next_part() or 0
redis.call('ZREM', t .. ':due', number)

if redis.call('ZSCORE', t .. ':leases', number) then       -- rescue: its owner, and the token it worked for, are gone
  release(t, number)
  tokens = math.max(own and 1 or 0, tokens - 1)
  if step ~= 'look' and (T.state == 'pending' or T.whole == '1') then
    redis.call('HSET', t, 'lost_begin', 1)
    T.lost_begin = '1'
  end
  local crashes = redis.call('HINCRBY', t .. ':tries', 'c' .. number, 1)
  local poison = crashes >= tonumber(ARGV[5])
  local failure = poison and cjson.decode(ARGV[6]) or {code = 'worker_lost', retryable = true}
  failure.step, failure.number, failure.attempt = step, tonumber(number), num(redis.call('HGET', t .. ':tries', number))
  remember_failure(tid, failure)
  if poison then
    redis.call('HSET', t, 'tokens', tokens)
    if step == 'end' then
      leave_behind(tid, T)
      finish_transfer(tid, T.ending == 'restart' and 'failed' or T.ending)
    else
      start_ending(tid, T, 'failed', ARGV[6])
    end
    return nothing('poison')
  end
end

local attempt = redis.call('HINCRBY', t .. ':tries', number, 1)
local deadline = now + lease_ms
redis.call('ZADD', t .. ':leases', deadline, number)
redis.call('HSET', t .. ':fences', number, fence)
redis.call('HINCRBY', t, 'attempts', 1)
if step == 'begin' or step == 'whole' then
  if T.intent == '0' then T.intent = now end
  redis.call('HSET', t, 'intent', T.intent)
end
redis.call('HSET', t, 'touched', now, 'backoff', 0, 'tokens', tokens, 'lease_max', lease_ms * 2)
if step == 'whole' and T.state == 'pending' then redis.call('HSET', t, 'state', 'uploading') end

local J = redis.call('HMGET', job_key(id), 'state', 'run', 'spec', 'size', 'crc32c')
if J[1] == 'queued' then
  set_state(id, 'running')
  redis.call('HSET', job_key(id), 'rate_at', now)
  if step == 'whole' then progress(id) else emit(id, 'state') end   -- the end of a small file follows at once
end
local last = cjson.decode(redis.call('HGET', t .. ':errors', number) or '{}')
local transfer = cjson.encode({destination = T.destination, key = T.key, url = T.url, fingerprint = T.fingerprint,
  part_size = num(T.part_size), total = num(T.total), unproved = num(T.unproved)})
return {'work', step, tonumber(number), attempt, T.session, T.ending, num(T.lost_begin), num(T.intent), transfer, num(J[2]), J[3], num(J[4]),
  J[5], num(last.since), now, last.code or '', num(last.alike)}
