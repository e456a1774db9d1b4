-- The ledger's vocabulary: every key, and the rules that all transitions share.
-- It stands before each script of this folder; ledger.py joins the two.
--
-- KEYS[1] is the prefix P of every key. Times are milliseconds of Redis' own clock, sizes are bytes.
--
-- P epoch                 string  grows with every reconciliation; missing: this ledger has not been reconciled yet
-- P jobs                  zset    ids of all jobs, score 0: UUIDv7 sorts by time as text
-- P jobs:STATE            zset    the same for one state
-- P owner:OWNER           zset    the same for one API key
-- P open:OWNER            zset    unfinished job -> far away; id that a job was promised to have -> when the promise ends
-- P key:ID                hash    an API key: record (JSON, no secret), expires, revoked
-- P keys                  set     ids of all API keys
-- P token:ID              hash    a short-lived token: record (JSON), key, used (uploads); gone when it ends
-- P admitted:ID           string  when the upload that is to be this job was counted; for two minutes
-- P left:ID               string  the request that was to make this job is over and counted; for ten minutes
-- P quota:KEY:requests:M  string  requests of a key in this minute;  P quota:KEY:bytes:D  bytes of this day
-- P quota:KEY:rest:D      hash    the upload that has what is left of this day, as its length is not known: id (of its job to be), until
-- P rested:ID             string  bytes that were counted for that upload, as nobody told its end in time; for a day
-- P once:NAME             hash    a used Idempotency-Key: fp (of its request), fence, until (lease of the request), of and ids (its jobs to be), node,
--                                 made, j:ID for each job made, status, location and body of the answer, dropped (ids that may be no jobs); kept a day
-- P blank:NODE            string  that node's disk was empty when this ledger was new: every Idempotency-Key used there is in it
-- P job:ID                hash    one job: spec (JSON, immutable), state, run, rev, times, size, received, checksums, error;
--                                 abandoned (vanish | expire): its bytes will not all come, and what was begun of it is being taken back
-- P job:ID:events         stream  its events: k (kind), d (JSON); trimmed, gone an hour after the end
-- P job:ID:hooks          hash    delivery -> JSON, how it stands; for each ended run one to the webhook (ID.RUN.STATE), and one
--                                 to the actor that was named for this end (ID.RUN.STATE.NAME)
-- P hooks                 zset    delivery -> when it is tried next
-- P feed                  stream  the events of all jobs, with o (owner); trimmed
-- P receiving             zset    job -> when its reception counts as dead
-- P active                zset    transfer -> the next moment somebody must look at it
-- P t:ID/N                hash    one transfer: destination, state, plan, session, counters, error, tokens;
--                                 available: so many parts can be read, the others have still to be received;
--                                 size '': nobody has looked at the source yet, and there is no plan
-- P t:ID/N:receipts       hash    part number -> packed receipt: THE record that a part is stored
-- P t:ID/N:leases         zset    part number (0: look, begin, whole, complete or end) -> deadline
-- P t:ID/N:fences         hash    part number -> random fence of the lease that counts
-- P t:ID/N:due            zset    part number -> when it may be tried again
-- P t:ID/N:tries          hash    part number -> attempts, "c" .. part number -> leases that ran out; only while unrecorded
-- P t:ID/N:errors         hash    part number -> JSON of its last error; only while unrecorded
-- P t:ID/N:failed         list    JSON of its latest failed attempts, the oldest first; kept as long as the transfer
-- P claim:DEST:KEY        zset    transfers that want to write this key, in the order of their acceptance; the first one may
-- P releasing:NODE        zset    job -> when that node's spool must look whether the file can go
-- P forgotten             zset    job -> when its user deleted it; kept for a day, so that no tombstone brings it back
-- P expiring              zset    job -> when its record is forgotten
-- P orphans               hash    transfer -> JSON {destination, fingerprint, key, session} of a session that could not be aborted
-- P workers               zset    worker -> when it was last seen;  P worker:NAME  hash, what it said of itself
-- P check:REQUEST         string  JSON result of one check of a destination, kept ten minutes
-- P health                hash    destination -> JSON result of its last check
-- P schema                string  version of this layout: 1
-- P totals                hash    since the ledger began: received, sent (bytes), ended:STATE (runs of jobs)
-- P counts                hash    what processes counted: NAME and labels, with tabs between -> amount (engine/measures.py)
-- P counted:PROCESS       string  number of that process' last batch, kept for an hour

local P = KEYS[1]

local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local now = clock()

local EVENT_GAP = 250           -- progress events of one job are at least this far apart
local LOOK_CAP = 5000           -- an active transfer is looked at this often at least
local STALL = 2000              -- a transfer with work and no token seen for this long gets new ones
local STALL_CAP = 60000
local RELEASE_GRACE = 2000      -- whoever ended a job looks after its file; from then on every sweeper does
local EVENTS_KEPT = 200
local FEED_KEPT = 5000
local FAILURES_KEPT = 20        -- of each transfer
local ONCE_KEPT = 86400000      -- an Idempotency-Key is known for a day
local COUNTED_KEPT = 3600000
local ENTRY_MS = 120000         -- an upload that was let in is a job by then, if only one that is being received
local LEFT_MS = 600000
local DAY_KEPT = 90000000       -- what counts for a day
local FAR = 9e15
local OVER = {succeeded = true, failed = true, cancelled = true}
local JOB_OVER = {succeeded = true, partially_succeeded = true, failed = true, cancelled = true, expired = true}

local function load(key)
  local flat, out = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do out[flat[i]] = flat[i + 1] end
  return out
end

local function num(value) return tonumber(value) or 0 end
local function job_key(id) return P .. 'job:' .. id end
local function key_of(tid) return P .. 't:' .. tid end
local function job_of(tid) return string.match(tid, '^(.*)/') end
local function claim_of(T) return P .. 'claim:' .. T.destination .. ':' .. T.claim end

-- Last in the queue for a key, whatever the clock says: nobody may overtake who writes already.
local function queue_up(claim, tid)
  local last = redis.call('ZRANGE', claim, -1, -1, 'WITHSCORES')[2]
  redis.call('ZADD', claim, 'NX', math.max(now, num(last) + 1), tid)
end

-- ---------------------------------------------------------------- events

local function brief(tid)
  local t = key_of(tid)
  local v = redis.call('HMGET', t, 'destination', 'state', 'sent', 'floor', 'total', 'whole')
  local total, flying = num(v[5]), redis.call('ZCARD', t .. ':leases')
  -- Number 0 is begin, complete or end, which carry no bytes; of a small file it is the file.
  if flying > 0 and v[6] ~= '1' and redis.call('ZSCORE', t .. ':leases', 0) then flying = flying - 1 end
  local parts = {
    total = total,
    sent = v[2] == 'succeeded' and total or redis.call('HLEN', t .. ':receipts'),
    in_flight = flying,
    failing = redis.call('HLEN', t .. ':errors'),
  }
  return {destination = v[1], state = v[2], sent = math.max(num(v[3]), num(v[4])), parts = parts}
end

-- Tells the watchers how a job stands, and keeps its rate. The job's `sent` is the least of its transfers that have not failed.
local function emit(id, kind)
  local job = job_key(id)
  local v = redis.call('HMGET', job, 'state', 'received', 'transfers', 'rate_at', 'rate_sent', 'rate', 'owner')
  local transfers, sent = {}, nil
  for n = 0, num(v[3]) - 1 do
    local one = brief(id .. '/' .. n)
    transfers[n + 1] = one
    if one.state ~= 'failed' and (sent == nil or one.sent < sent) then sent = one.sent end
  end
  sent = sent or 0
  local gap = now - num(v[4])
  if gap >= EVENT_GAP then
    local seen = math.max(0, sent - num(v[5])) * 1000 / gap
    local rate = num(v[4]) == 0 and 0 or math.floor(num(v[6]) == 0 and seen or num(v[6]) * 0.7 + seen * 0.3)
    redis.call('HSET', job, 'rate_at', now, 'rate_sent', sent, 'rate', rate)
  end
  redis.call('HSET', job, 'event_at', now, 'dirty', 0)
  if #transfers == 0 then transfers = nil end
  local data = cjson.encode({id = id, state = v[1], received = num(v[2]), sent = sent, transfers = transfers})
  local seen = redis.call('XADD', job .. ':events', 'MAXLEN', '~', EVENTS_KEPT, '*', 'k', kind, 'd', data)
  redis.call('XADD', P .. 'feed', 'MAXLEN', '~', FEED_KEPT, '*', 'k', kind, 'd', data, 'o', v[7] or '')
  return seen
end

-- Progress is coalesced: 1 when an event still owes to be told (see flush.lua), 0 when it went out.
local function progress(id)
  if now - num(redis.call('HGET', job_key(id), 'event_at')) >= EVENT_GAP then
    emit(id, 'progress')
    return 0
  end
  redis.call('HSET', job_key(id), 'dirty', 1)
  return 1
end

local function set_state(id, state)
  local job = job_key(id)
  local v = redis.call('HMGET', job, 'state', 'owner')
  local old, owner = v[1], v[2] or ''
  if old == state then return end
  if owner ~= '' then
    local open = not JOB_OVER[state]
    if open and (not old or JOB_OVER[old]) then redis.call('ZADD', P .. 'open:' .. owner, FAR, id)
    elseif not open then redis.call('ZREM', P .. 'open:' .. owner, id) end
  end
  if old then redis.call('ZREM', P .. 'jobs:' .. old, id) end
  redis.call('ZADD', P .. 'jobs:' .. state, 0, id)
  redis.call('HSET', job, 'state', state, 'updated', now)
  redis.call('HINCRBY', job, 'rev', 1)
end

local function touch_job(id)
  redis.call('HSET', job_key(id), 'updated', now)
  redis.call('HINCRBY', job_key(id), 'rev', 1)
end

-- ---------------------------------------------------------------- idempotency keys

-- A job that was submitted with an Idempotency-Key becomes known there in the very step that makes it.
-- false: another request has taken the key over, and this job must not be. remade: it was accepted long ago, and the disk says so.
local function fulfil(id, spec, remade)
  if not string.find(spec, '"once":{', 1, true) then return true end
  local J = cjson.decode(spec)
  local once, left = J.once, num(J.created_ms) + ONCE_KEPT - now
  if type(once) ~= 'table' or left <= 0 then return true end
  local t = P .. 'once:' .. once.name
  local C = load(t)
  if string.find(C.dropped or '', id, 1, true) then return false end
  if C.fence and C.fence ~= once.fence then
    if not remade then return false end
    if num(C.made) > 0 then return true end           -- both were accepted, in a ledger that had lost the first
  end
  if C.fence ~= once.fence then
    redis.call('HSET', t, 'fp', once.fingerprint, 'fence', once.fence, 'until', 0, 'ids', '', 'made', 0)
  end
  redis.call('HSET', t, 'of', once.of or 1)
  if redis.call('HSET', t, 'j:' .. id, 1) == 1 then redis.call('HINCRBY', t, 'made', 1) end
  redis.call('PEXPIRE', t, math.min(left, ONCE_KEPT))
  return true
end

-- ---------------------------------------------------------------- work and tokens

local function live_leases(t, T)
  -- A deadline further away than a lease can be was written before a clock was set back: it counts as run out.
  return redis.call('ZCOUNT', t .. ':leases', '(' .. now, now + num(T.lease_max))
end

-- One transfer looks at the source for all of its job: the first that is not over.
local function looks(tid)
  local id = job_of(tid)
  for n = 0, tonumber(string.match(tid, '/(%d+)$')) - 1 do
    if not OVER[redis.call('HGET', key_of(id .. '/' .. n), 'state')] then return false end
  end
  return true
end

-- A transfer that is planned and not begun, last in the queue for its key. size: '' when nobody has looked at the source.
-- lost: there may be a session of it that the ledger does not know.
local function new_transfer(tid, plan, size, available, lost, lease_max)
  redis.call('HSET', key_of(tid), 'destination', plan.destination, 'backend', plan.backend, 'key', plan.key, 'claim', plan.claim,
    'url', plan.url, 'fingerprint', plan.fingerprint, 'part_size', plan.part_size, 'total', plan.total, 'available', available,
    'window', plan.window, 'whole', plan.whole and 1 or 0, 'ordered', plan.ordered and 1 or 0, 'priority', plan.priority or 'normal',
    'size', size, 'state', 'pending', 'next', 1, 'sent', 0, 'floor', 0, 'unproved', 0, 'session', '', 'ending', '', 'hold', '',
    'attempts', 0, 'restarts', 0, 'error', '', 'intent', 0, 'lost_begin', lost and 1 or 0, 'lease_max', lease_max, 'mint', 1,
    'tokens', 1, 'touched', now, 'backoff', 0)
  queue_up(P .. 'claim:' .. plan.destination .. ':' .. plan.claim, tid)
  redis.call('ZADD', P .. 'active', now + STALL, tid)
end

-- How many tokens could find work on this transfer right now, how many leases live, and in which lane the tokens travel.
local function demand(tid, T)
  local t = key_of(tid)
  local live = live_leases(t, T)
  if T.ending == '' and T.state == 'uploading' and T.whole ~= '1' then
    if T.hold ~= '' then return 0, live, 'parts' end
    local again = redis.call('ZCOUNT', t .. ':due', '-inf', now) + redis.call('ZCARD', t .. ':leases') - live
    local work = again + math.max(0, num(T.available) - num(T.next) + 1)
    -- A store that takes parts in order only: while one waits to be tried again, nothing behind it may go.
    if T.ordered == '1' and again == 0 and redis.call('ZCARD', t .. ':due') > 0 then work = 0 end
    return math.max(0, math.min(num(T.window) - live, work)), live, 'parts'
  end
  if live > 0 or OVER[T.state] then return 0, live, 'small' end
  if T.ending == '' and (T.hold ~= '' or (T.size == '' and not looks(tid))) then return 0, live, 'small' end
  local due = redis.call('ZSCORE', t .. ':due', 0)
  if due and tonumber(due) > now then return 0, live, 'small' end
  if T.ending == '' and T.state == 'pending' and redis.call('ZRANGE', claim_of(T), 0, 0)[1] ~= tid then
    return 0, live, 'small'
  end
  return 1, live, 'small'
end

-- The queue for tokens of this kind of work: a job's priority has its say.
local function lane_of(T, kind)
  if T.priority == 'low' then return 'low' end
  return (T.priority == 'high' and kind == 'parts') and 'high' or kind
end

-- The tokens that a transfer lacks for its work: {lane, mint, count}.
local function top_up(tid)
  local T = load(key_of(tid))
  local work, live, lane = demand(tid, T)
  local lacking = work > 0 and (lane == 'parts' and live + work or 1) - num(T.tokens) or 0
  if lacking <= 0 then return {'', 0, 0} end
  redis.call('HINCRBY', key_of(tid), 'tokens', lacking)
  redis.call('HSET', key_of(tid), 'touched', now)
  return {lane_of(T, lane), num(T.mint), lacking}
end

-- Whether the token that just finished goes on ('' or its lane); tokens of an older mint only fill a gap.
local function onward(tid, mint)
  local t = key_of(tid)
  local T = load(t)
  if not T.state or OVER[T.state] then return {'', 0, 0} end
  local work, live, lane = demand(tid, T)
  local tokens, own = num(T.tokens), mint == T.mint
  local wanted = work > 0 and (lane == 'parts' and live + work or 1) or 0
  local mine = own and tokens or tokens + 1
  if wanted > 0 and mine <= math.max(wanted, 1) then
    local extra = math.max(0, wanted - mine)
    redis.call('HSET', t, 'tokens', mine + extra)
    return {lane_of(T, lane), num(T.mint), extra}
  end
  if own then redis.call('HSET', t, 'tokens', math.max(0, tokens - 1)) end
  return {'', 0, 0}
end

-- A session that nobody here can or will abort any more; `bucketline gc` does, where the destination is still the same.
local function leave_behind(tid, T)
  redis.call('HSET', P .. 'orphans', tid,
    cjson.encode({destination = T.destination, fingerprint = T.fingerprint, key = T.key, session = T.session}))
end

local function look_soon(tid, at) redis.call('ZADD', P .. 'active', 'LT', at, tid) end

local function release(t, number)
  redis.call('ZREM', t .. ':leases', number)
  redis.call('HDEL', t .. ':fences', number)
end

local function clear_work(t)
  redis.call('DEL', t .. ':receipts', t .. ':leases', t .. ':fences', t .. ':due', t .. ':tries', t .. ':errors')
end

-- An attempt that failed stays known when a later one has made it good, and when the next run begins.
-- failure: {step, number, attempt, code, title, detail, retryable}, of bounded length
local function remember_failure(tid, failure)
  local failed = key_of(tid) .. ':failed'
  failure.at, failure.run = now, num(redis.call('HGET', job_key(job_of(tid)), 'run'))
  redis.call('RPUSH', failed, cjson.encode(failure))
  redis.call('LTRIM', failed, -FAILURES_KEPT, -1)
end

-- Back to the beginning: for a lost session, and for the next run. What was shown as sent stays the floor of what is shown.
local function begin_again(tid, T)
  local t = key_of(tid)
  clear_work(t)
  redis.call('HSET', t, 'state', 'pending', 'next', 1, 'sent', 0, 'unproved', 0, 'session', '', 'ending', '', 'hold', '',
    'floor', math.max(num(T.floor), num(T.sent)), 'intent', 0)
end

-- What ended goes on, as the run of that number: nothing of its end stays, and its file is looked after no more.
local function next_run(id, J, run)
  local job = job_key(id)
  redis.call('HSET', job, 'run', run, 'finished', '', 'until', 0, 'error', '', 'end_id', '')
  redis.call('HDEL', job, 'satisfied')
  redis.call('PERSIST', job .. ':events')
  redis.call('ZREM', P .. 'releasing:' .. J.node, id)
  redis.call('ZREM', P .. 'expiring', id)
end

-- A job with its transfers, as read.lua and accept.lua answer it:
-- {job hash, {transfer hash, receipts, leases, errors, next due, one error} …}, or {} when there is none
local function snapshot(id)
  local job = redis.call('HGETALL', job_key(id))
  local one = {}
  if #job == 0 then return one end
  one[1] = job
  for n = 0, num(redis.call('HGET', job_key(id), 'transfers')) - 1 do
    local t = key_of(id .. '/' .. n)
    local due = redis.call('ZRANGE', t .. ':due', 0, 0, 'WITHSCORES')
    local errors = redis.call('HLEN', t .. ':errors')
    local first = ''
    if errors > 0 then
      local some = due[1] or redis.call('HKEYS', t .. ':errors')[1]
      first = redis.call('HGET', t .. ':errors', some) or redis.call('HVALS', t .. ':errors')[1]
    end
    one[#one + 1] = {redis.call('HGETALL', t), redis.call('HLEN', t .. ':receipts'), redis.call('ZRANGE', t .. ':leases', 0, -1), errors,
      due[2] or '', first}
  end
  return one
end

-- ---------------------------------------------------------------- the end of things

local function forget(id, owner)
  local job = job_key(id)
  for n = 0, num(redis.call('HGET', job, 'transfers')) - 1 do
    local t = key_of(id .. '/' .. n)
    local T = load(t)
    if T.destination then redis.call('ZREM', claim_of(T), id .. '/' .. n) end
    clear_work(t)
    redis.call('DEL', t, t .. ':failed')
    redis.call('ZREM', P .. 'active', id .. '/' .. n)
  end
  redis.call('ZREM', P .. 'jobs', id)
  redis.call('ZREM', P .. 'jobs:' .. redis.call('HGET', job, 'state'), id)
  if owner ~= '' then
    redis.call('ZREM', P .. 'owner:' .. owner, id)
    redis.call('ZREM', P .. 'open:' .. owner, id)
  end
  redis.call('ZREM', P .. 'expiring', id)
  redis.call('ZREM', P .. 'receiving', id)
  for _, one in ipairs(redis.call('HKEYS', job .. ':hooks')) do redis.call('ZREM', P .. 'hooks', one) end
  redis.call('DEL', job, job .. ':events', job .. ':hooks')
end

-- Whoever asked to be told of the end will be: in the same step in which the job ends, so that no crash can lose it.
local function owe_hook(id, J, state)
  local text = J.spec or ''
  if not string.find(text, '"webhook"', 1, true) and not string.find(text, '"on_', 1, true) then return end
  local spec, one, owed = cjson.decode(text), id .. '.' .. J.run .. '.' .. state, {}
  local actor = spec[state == 'succeeded' and 'on_success' or 'on_failure']
  if spec.webhook then owed[1] = one end
  if actor then owed[#owed + 1] = one .. '.' .. actor end
  for _, delivery in ipairs(owed) do
    redis.call('HSETNX', job_key(id) .. ':hooks', delivery, cjson.encode({state = 'pending', created_ms = now, tries = 0}))
    redis.call('ZADD', P .. 'hooks', 'NX', now, delivery)
  end
end

local function owes_hook(id)
  for _, one in ipairs(redis.call('HKEYS', job_key(id) .. ':hooks')) do
    if redis.call('ZSCORE', P .. 'hooks', one) then return true end
  end
  return false
end

local function finish_job(id)
  local job = job_key(id)
  local J = load(job)
  if not J.state or JOB_OVER[J.state] or (J.state == 'receiving' and not J.abandoned) then return '' end
  local succeeded, total, why = 0, num(J.transfers), ''
  for n = 0, total - 1 do
    local v = redis.call('HMGET', key_of(id .. '/' .. n), 'state', 'error')
    if not OVER[v[1]] then return '' end
    if v[1] == 'succeeded' then succeeded = succeeded + 1 end
    if v[1] == 'failed' and why == '' then why = v[2] end
  end
  if J.abandoned == 'vanish' and J.state == 'receiving' then      -- it never was a job
    emit(id, 'gone')
    forget(id, J.owner or '')
    return ''
  end
  local state = 'failed'
  if total > 0 and succeeded == total then state = 'succeeded'     -- a job without transfers was still being received
  elseif J.state == 'receiving' then state = 'expired'
  elseif J.state == 'cancelling' then state = 'cancelled'
  elseif succeeded > 0 then state = 'partially_succeeded' end
  set_state(id, state)
  redis.call('HINCRBY', P .. 'totals', 'ended:' .. state, 1)
  local kept = (state == 'failed' or state == 'partially_succeeded') and now + num(J.keep_ms) or 0
  redis.call('HSET', job, 'finished', now, 'until', kept, 'error', state == 'succeeded' and '' or why)
  if state == 'succeeded' then redis.call('HSET', job, 'satisfied', now) end
  redis.call('ZADD', P .. 'releasing:' .. J.node, now + RELEASE_GRACE, id)
  redis.call('ZADD', P .. 'expiring', now + num(J.retain_ms), id)
  owe_hook(id, J, state)
  redis.call('HSET', job, 'end_id', emit(id, 'end'))
  redis.call('HDEL', job, 'dirty', 'event_at', 'rate_at', 'rate_sent')
  redis.call('EXPIRE', job .. ':events', 3600)
  return state
end

-- One transfer reached its end: its key is free for the next writer, and the job may be over. Answers the job's final state or ''.
local function finish_transfer(tid, state)
  local t, id = key_of(tid), job_of(tid)
  local T = load(t)
  redis.call('HSET', t, 'state', state, 'ending', '', 'hold', '', 'session', '', 'tokens', 0)
  if state == 'succeeded' then              -- no run can follow: what only work needed goes
    redis.call('HDEL', t, 'ending', 'hold', 'session', 'tokens', 'next', 'available', 'window', 'unproved', 'floor', 'restarts', 'intent',
      'lost_begin', 'lease_max', 'mint', 'touched', 'backoff', 'error', 'fingerprint')
  end
  clear_work(t)
  redis.call('ZREM', P .. 'active', tid)
  local claim = claim_of(T)
  redis.call('ZREM', claim, tid)
  local heir = redis.call('ZRANGE', claim, 0, 0)[1]
  if heir then look_soon(heir, now) end
  touch_job(id)
  local final = finish_job(id)
  if final == '' and redis.call('EXISTS', job_key(id)) == 1 then emit(id, 'transfer') end
  return final
end

local function start_ending(tid, T, ending, why)
  redis.call('HSET', key_of(tid), 'ending', ending, 'error', why)
  redis.call('HDEL', key_of(tid) .. ':tries', '0', 'c0')
  redis.call('HDEL', key_of(tid) .. ':errors', '0')
  redis.call('ZREM', key_of(tid) .. ':due', 0)
  look_soon(tid, now)
end

-- True when somebody has to take something back at the provider first.
local function cancel_transfer(tid)
  local T = load(key_of(tid))
  if not T.state or OVER[T.state] then return false end
  if T.ending ~= '' and T.ending ~= 'restart' then return false end
  start_ending(tid, T, 'cancelled', T.error)
  if T.state ~= 'pending' or num(T.intent) > 0 or T.lost_begin ~= '0' then return true end
  finish_transfer(tid, 'cancelled')
  return false
end

-- The bytes of a job will not all come. What was begun of it is taken back; then nothing stays of it, or (retained) it ends `expired`.
local function abandon(id, retained)
  redis.call('ZREM', P .. 'receiving', id)
  redis.call('HSET', job_key(id), 'abandoned', retained and 'expire' or 'vanish')
  for n = 0, num(redis.call('HGET', job_key(id), 'transfers')) - 1 do
    cancel_transfer(id .. '/' .. n)
  end
  finish_job(id)
end
