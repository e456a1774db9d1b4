-- The bytes are durable: the job is real. Also makes a job again that Redis lost (from the spool's sidecar), so it needs no earlier state.
-- ARGV: id, spec JSON, owner, node, size ('' when nobody has looked at the source yet), crc32c, sha256, run, keep_ms, retain_ms, lease_max_ms, remade ('1' | ''), created_ms, transfers JSON,
--   early ('1' | '': its transfers began while it was received; when the ledger has lost them, their sessions are looked for)
--   transfers: list of {destination, backend, key, claim, url, fingerprint, part_size, total, window, whole, ordered, priority}
-- -> {'accepted', clock, snapshot, tid, mint, count, lane, …} | {'already', state, or 'superseded': see `fulfil`}
local id = ARGV[1]
local job = job_key(id)
local known = redis.call('HMGET', job, 'state', 'transfers')
local state, early = known[1], num(known[2]) > 0
if state and state ~= 'receiving' then return {'already', state} end
if not fulfil(id, ARGV[2], ARGV[12] == '1') then return {'already', 'superseded'} end
local transfers = cjson.decode(ARGV[14])
local received = ARGV[5] == '' and '0' or ARGV[5]
redis.call('HSETNX', job, 'created', ARGV[13])
redis.call('HSETNX', job, 'rev', 0)
redis.call('HSET', job, 'spec', ARGV[2], 'owner', ARGV[3], 'node', ARGV[4], 'size', ARGV[5], 'received', received, 'crc32c', ARGV[6],
  'sha256', ARGV[7], 'run', ARGV[8], 'keep_ms', ARGV[9], 'retain_ms', ARGV[10], 'transfers', #transfers, 'error', '', 'accepted', now)
redis.call('ZADD', P .. 'jobs', 0, id)
if ARGV[3] ~= '' then redis.call('ZADD', P .. 'owner:' .. ARGV[3], 0, id) end
redis.call('ZREM', P .. 'receiving', id)
redis.call('HDEL', job, 'abandoned')
redis.call('HINCRBY', P .. 'totals', 'received', received)
local answer = {'accepted', 0, {}}

local function add_token(tid, lane, mint, count)
  if count == 0 then return end
  for _, word in ipairs({tid, tostring(mint), tostring(count), lane}) do answer[#answer + 1] = word end
end

-- It began while the file was being received: now all parts can be read, and completing waits for nobody.
local function go_on(tid, T)
  local t = key_of(tid)
  if T.ending == 'cancelled' then redis.call('HSET', t, 'ending', 'restart') end       -- it was given up, too early
  if T.state == 'cancelled' then
    begin_again(tid, T)
    queue_up(claim_of(T), tid)
  end
  if T.state == 'uploading' and T.ending == '' and redis.call('HLEN', t .. ':receipts') == tonumber(T.total) then
    redis.call('HSET', t, 'state', 'completing')
  end
  redis.call('ZADD', P .. 'active', now, tid)
  return redis.call('HGET', t, 'state') ~= 'pending'
end

-- Who waits for a file that is still being received waits for a client: those that are whole go first. A session that has begun is
-- taken back, and its transfer queues up again when that is done (ended.lua).
local function overtake(claim)
  for _, other in ipairs(redis.call('ZRANGE', claim, 0, -1)) do
    if job_of(other) ~= id and redis.call('HGET', job_key(job_of(other)), 'state') == 'receiving' then
      local T = load(key_of(other))
      if T.state == 'pending' and num(T.intent) == 0 and T.lost_begin == '0' then
        redis.call('ZREM', claim, other)
        queue_up(claim, other)
      elseif T.ending == '' then
        start_ending(other, T, 'restart', '')
      end
    end
  end
end

local begun = false
for n, plan in ipairs(transfers) do
  local tid = id .. '/' .. (n - 1)
  local T = early and load(key_of(tid)) or {}
  if not T.state then
    new_transfer(tid, plan, ARGV[5], plan.total, ARGV[12] == '1' or ARGV[15] == '1', ARGV[11])
    local claim = P .. 'claim:' .. plan.destination .. ':' .. plan.claim
    if redis.call('ZCARD', claim) > 1 then overtake(claim) end
    add_token(tid, lane_of(plan, 'small'), 1, 1)
  else
    redis.call('HSET', key_of(tid), 'available', T.total, 'hold', '')
    if not OVER[T.state] or T.state == 'cancelled' then
      begun = go_on(tid, T) or begun
      local more = top_up(tid)
      add_token(tid, more[1], more[2], more[3])
    end
  end
end
set_state(id, begun and 'running' or 'queued')
emit(id, 'state')
finish_job(id)                                     -- where all that began early has failed already
answer[2] = now
answer[3] = snapshot(id)
return answer
