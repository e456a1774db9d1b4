-- A request, and perhaps an upload, is counted, or nothing at all where something is used up. An upload is counted once, however often
-- it is asked for, and not at all when its end has been told already: see leave.lua.
-- ARGV: key, limits of requests a minute, bytes a day, unfinished jobs, token or '', its limit of uploads, bytes ('': not announced),
--   id of the job to come or '', again ('1' | '': one more file of a request that is counted)
--   a limit of '' is none, and then there is nothing to count
-- -> {'' | 'requests' | 'bytes' | 'rest' | 'jobs' | 'uploads' | 'gone', requests, bytes, jobs, clock}
local key, token, charge, entry = ARGV[1], P .. 'token:' .. ARGV[5], num(ARGV[7]), ARGV[8]
local limits = {requests = ARGV[2], bytes = ARGV[3], jobs = ARGV[4], uploads = ARGV[6]}
local minute = P .. 'quota:' .. key .. ':requests:' .. math.floor(now / 60000)
local day = P .. 'quota:' .. key .. ':bytes:' .. math.floor(now / 86400000)
local rest = P .. 'quota:' .. key .. ':rest:' .. math.floor(now / 86400000)
local open = P .. 'open:' .. key
redis.call('ZREMRANGEBYSCORE', open, '-inf', now)
local used = {
  requests = limits.requests ~= '' and num(redis.call('GET', minute)) or 0,
  bytes = limits.bytes ~= '' and num(redis.call('GET', day)) or 0,
  jobs = limits.jobs ~= '' and redis.call('ZCARD', open) or 0,
}
local function answer(refused, at) return {refused, used.requests, used.bytes, used.jobs, at or now} end

if entry ~= '' then
  local before = redis.call('GET', P .. 'admitted:' .. entry)
  if before then return answer('', num(before)) end
  if redis.call('EXISTS', P .. 'left:' .. entry) == 1 then return answer('gone') end
end
-- Who does not say how much comes has what is left of the day to itself until its end is told (leave.lua). Where nobody tells, because a
-- process died or an answer was lost, that is when the promise is over and nothing is received; then what came is counted here.
local function rest_is_taken()
  local R = load(rest)
  if not R.id then return false end
  if now < num(R['until']) or num(redis.call('ZSCORE', P .. 'receiving', R.id)) > now then return true end
  local came = num(redis.call('HGET', job_key(R.id), 'size'))
  redis.call('DEL', rest)
  redis.call('SET', P .. 'rested:' .. R.id, came, 'PX', DAY_KEPT)
  used.bytes = redis.call('INCRBY', day, came)
  redis.call('PEXPIRE', day, DAY_KEPT)
  return false
end

if limits.requests ~= '' and used.requests >= num(limits.requests) then return answer('requests') end
if entry ~= '' then
  local taken = limits.bytes ~= '' and ARGV[9] == '' and rest_is_taken()
  if limits.bytes ~= '' and used.bytes + math.max(charge, 1) > num(limits.bytes) then return answer('bytes') end
  if taken then return answer('rest') end
  if limits.jobs ~= '' and used.jobs >= num(limits.jobs) then return answer('jobs') end
  if limits.uploads ~= '' then
    local sent = redis.call('HGET', token, 'used')
    if not sent then return answer('gone') end
    if num(sent) >= num(limits.uploads) then return answer('uploads') end
    redis.call('HINCRBY', token, 'used', 1)
  end
  if limits.bytes ~= '' and charge > 0 then
    used.bytes = redis.call('INCRBY', day, charge)
    redis.call('PEXPIRE', day, DAY_KEPT)
  end
  if limits.bytes ~= '' and ARGV[7] == '' then
    redis.call('HSET', rest, 'id', entry, 'until', now + ENTRY_MS)
    redis.call('PEXPIRE', rest, DAY_KEPT)
  end
  if limits.jobs ~= '' then
    redis.call('ZADD', open, now + ENTRY_MS, entry)
    used.jobs = used.jobs + 1
  end
  redis.call('SET', P .. 'admitted:' .. entry, now, 'PX', ENTRY_MS)
end
if limits.requests ~= '' then
  used.requests = redis.call('INCR', minute)
  redis.call('PEXPIRE', minute, 120000)
end
return answer('')
