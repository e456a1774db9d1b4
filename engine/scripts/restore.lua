-- The disk knows the end of a job of which Redis has none, or an older state: the end rules.
-- ARGV: id, JSON {job: {…}, transfers: [{…}, …]}   ->  1 when something was mended, 0 when the ledger knew
local id = ARGV[1]
local dead = cjson.decode(ARGV[2])
local J = load(job_key(id))
if J.state and (num(J.run) > num(dead.job.run) or (JOB_OVER[J.state] and J.run == dead.job.run)) then return 0 end
if redis.call('ZSCORE', P .. 'forgotten', id) then return 0 end
if J.state then forget(id, J.owner or '') end
fulfil(id, dead.job.spec or '', true)
for field, value in pairs(dead.job) do redis.call('HSET', job_key(id), field, value) end
for n, transfer in ipairs(dead.transfers) do
  for field, value in pairs(transfer) do redis.call('HSET', key_of(id .. '/' .. (n - 1)), field, value) end
end
redis.call('ZADD', P .. 'jobs', 0, id)
redis.call('ZADD', P .. 'jobs:' .. dead.job.state, 0, id)
if (dead.job.owner or '') ~= '' then redis.call('ZADD', P .. 'owner:' .. dead.job.owner, 0, id) end
redis.call('ZADD', P .. 'expiring', num(dead.job.finished) + num(dead.job.retain_ms), id)
redis.call('ZADD', P .. 'releasing:' .. dead.job.node, num(dead.job['until']), id)
redis.call('HSET', job_key(id), 'end_id', emit(id, 'end'))
redis.call('EXPIRE', job_key(id) .. ':events', 3600)
owe_hook(id, dead.job, dead.job.state)   -- whether it was told is lost: at least once, with the same id
return 1
