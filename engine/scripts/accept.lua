-- The bytes are durable: the job is real. Also makes a job again that Redis lost (from the spool's sidecar), so it needs no earlier state.
-- ARGV: id, spec JSON, owner, node, size ('' when nobody has looked at the source yet), crc32c, sha256, run, keep_ms, retain_ms, lease_max_ms, remade ('1' | ''), created_ms, transfers JSON
--   transfers: list of {destination, backend, key, claim, url, fingerprint, part_size, total, window, whole, ordered, priority}
-- -> {'accepted', clock, snapshot, tid, mint, …} (a token for each transfer) | {'already', state, or 'superseded': see `fulfil`}
local id = ARGV[1]
local job = job_key(id)
local state = redis.call('HGET', job, 'state')
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
redis.call('HINCRBY', P .. 'totals', 'received', received)
local answer = {'accepted', 0, {}}
for n, plan in ipairs(transfers) do
  local tid = id .. '/' .. (n - 1)
  new_transfer(tid, plan, ARGV[5], ARGV[11], ARGV[12] == '1')
  answer[#answer + 1] = tid
  answer[#answer + 1] = '1'
end
set_state(id, 'queued')
emit(id, 'state')
answer[2] = now
answer[3] = snapshot(id)
return answer
