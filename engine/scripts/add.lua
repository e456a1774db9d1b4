-- Destinations are added to a job: to the run that is going on, or where it is over, as its next run, in which nothing else is done.
-- The disk knows of it before (the job's appendix), and this decides. Asked again it adds nothing.
-- ARGV: id, run (of the wish: the job's, or behind its end the next), spooled ('1': its bytes go with the end | '': they are not ours), lease_max_ms,
--   remade ('1': Redis may have lost it | ''), transfers JSON: list as in accept.lua
-- -> {'done' | 'already' | 'conflict' | 'unseen' (nobody has looked at its source) | 'source_gone' | 'ended' (the run of the wish is over) | 'missing',
--     state, tid, mint, …} (tokens to send)
local id, run = ARGV[1], num(ARGV[2])
local J = load(job_key(id))
if not J.state then return {'missing', ''} end
local function refuse(why) return {why, J.state} end
if J.state == 'receiving' or J.state == 'cancelling' or J.state == 'cancelled' or J.state == 'expired' then return refuse('conflict') end

local has, fresh = {}, {}
for n = 0, num(J.transfers) - 1 do has[redis.call('HGET', key_of(id .. '/' .. n), 'destination')] = true end
for _, plan in ipairs(cjson.decode(ARGV[6])) do
  if not has[plan.destination] then
    has[plan.destination] = true
    fresh[#fresh + 1] = plan
  end
end
if #fresh == 0 then return refuse('already') end
if J.size == '' then return refuse('unseen') end
local over = JOB_OVER[J.state]
if over then
  if run <= num(J.run) then return refuse('ended') end
  if ARGV[3] == '1' and (J.state == 'succeeded' or num(J['until']) <= now) then return refuse('source_gone') end
  next_run(id, J, run)
elseif run > num(J.run) then
  redis.call('HSET', job_key(id), 'run', run)      -- the ledger is older than the disk: that run was begun already
end

local answer = {'done', ''}
for n, plan in ipairs(fresh) do
  local tid = id .. '/' .. (num(J.transfers) + n - 1)
  new_transfer(tid, plan, J.size, plan.total, ARGV[5] == '1', ARGV[4])
  if J.state == 'paused' then
    redis.call('HSET', key_of(tid), 'hold', 'paused', 'tokens', 0)
  else
    answer[#answer + 1] = tid
    answer[#answer + 1] = '1'
  end
end
redis.call('HSET', job_key(id), 'transfers', num(J.transfers) + #fresh)
if over then
  set_state(id, 'queued')
  emit(id, 'state')
else
  touch_job(id)
  emit(id, 'transfer')
end
answer[2] = redis.call('HGET', job_key(id), 'state')
return answer
