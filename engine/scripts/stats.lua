-- The ledger in numbers. ARGV: states -> {counts, totals, active transfers, workers (name, seen, info …), now}
local counts, workers = {}, {}
for i, state in ipairs(ARGV) do counts[i] = redis.call('ZCARD', P .. 'jobs:' .. state) end
local seen = redis.call('ZRANGE', P .. 'workers', '(' .. (now - 15000), '+inf', 'BYSCORE', 'WITHSCORES')
for i = 1, #seen, 2 do
  workers[#workers + 1] = seen[i]
  workers[#workers + 1] = seen[i + 1]
  workers[#workers + 1] = redis.call('GET', P .. 'worker:' .. seen[i]) or '{}'
end
return {counts, redis.call('HGETALL', P .. 'totals'), redis.call('ZCARD', P .. 'active'), workers, now}
