-- One round of the sweeper: every token may have been lost, every owner may be dead.
-- ARGV: worker name, worker info JSON, node, limit, then how many tokens the queue of small steps and that of parts have room for
-- -> {epoch or '', {tid, mint, count, lane, …}, {jobs whose spool file may go}, {receptions that died}, jobs forgotten, now,
--     when this worker swept before, as far as this ledger knows}
local worker, info, node, limit = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local room = {small = tonumber(ARGV[5]), parts = tonumber(ARGV[6])}
local before = num(redis.call('ZSCORE', P .. 'workers', worker))
if before >= tonumber(ARGV[7]) then redis.call('ZADD', P .. 'workers', now, worker) end
redis.call('SET', P .. 'worker:' .. worker, info, 'PX', 120000)
redis.call('ZREMRANGEBYSCORE', P .. 'workers', '-inf', now - 60000)

local mints = {}
local function mint(tid, T, number, count, lane)
  room[lane] = room[lane] - count
  mints[#mints + 1] = tid
  mints[#mints + 1] = number
  mints[#mints + 1] = count
  mints[#mints + 1] = lane_of(T, lane)
end

-- Tokens are counted, and lost ones noticed by silence: work is there, yet no token asked for it during the stall time.
local function refill(tid, T, work, live, lane)
  local t = key_of(tid)
  local tokens, silent = num(T.tokens), now - num(T.touched)
  local stall = math.min(STALL_CAP, STALL * 2 ^ num(T.backoff))
  local wanted = lane == 'parts' and live + work or 1
  if silent >= stall then
    redis.call('HSET', t, 'mint', num(T.mint) + 1, 'tokens', work, 'touched', now, 'backoff', math.min(5, num(T.backoff) + 1))
    mint(tid, T, num(T.mint) + 1, work, lane)
  elseif tokens < wanted then
    redis.call('HSET', t, 'tokens', wanted)
    mint(tid, T, num(T.mint), wanted - tokens, lane)
  end
end

local function next_look(tid, T, work)
  local t = key_of(tid)
  local at = now + LOOK_CAP
  local lease = redis.call('ZRANGE', t .. ':leases', 0, 0, 'WITHSCORES')
  if lease[2] then at = math.min(at, tonumber(lease[2])) end
  local due = redis.call('ZRANGE', t .. ':due', 0, 0, 'WITHSCORES')
  if due[2] then at = math.min(at, tonumber(due[2])) end
  if work > 0 then at = math.min(at, now + STALL) end
  redis.call('ZADD', P .. 'active', math.max(at, now + 200), tid)
end

for _, tid in ipairs(redis.call('ZRANGEBYSCORE', P .. 'active', '-inf', now, 'LIMIT', 0, limit)) do
  local T = load(key_of(tid))
  if not T.state or OVER[T.state] then
    redis.call('ZREM', P .. 'active', tid)
  else
    local work, live, lane = demand(tid, T)
    -- Where many tokens wait already, silence means patience.
    if work > 0 and room[lane] > 0 then refill(tid, T, work, live, lane) end
    if T.hold ~= '' and T.ending == '' and live == 0 then
      redis.call('ZREM', P .. 'active', tid)      -- paused: resume or cancel puts it back
    else
      next_look(tid, T, work)
    end
    if redis.call('HGET', job_key(job_of(tid)), 'dirty') == '1' then emit(job_of(tid), 'progress') end
  end
end

local dead = redis.call('ZRANGEBYSCORE', P .. 'receiving', '-inf', now, 'LIMIT', 0, limit)
for _, id in ipairs(dead) do
  -- With retain_ms it is an upload in chunks: its client may ask what became of it.
  abandon(id, redis.call('HGET', job_key(id), 'retain_ms'))
end

local old = redis.call('ZRANGEBYSCORE', P .. 'expiring', '-inf', now, 'LIMIT', 0, limit)
for _, id in ipairs(old) do
  if owes_hook(id) then redis.call('ZADD', P .. 'expiring', now + 60000, id)
  else forget(id, redis.call('HGET', job_key(id), 'owner') or '') end
end

local free = redis.call('ZRANGEBYSCORE', P .. 'releasing:' .. node, '-inf', now, 'LIMIT', 0, limit)
return {redis.call('GET', P .. 'epoch') or '', mints, free, dead, #old, now, before}
