-- What the ledger says of these jobs, for reconciliation. ARGV: ids -> flat list state or '', run
local answer = {}
for _, id in ipairs(ARGV) do
  local v = redis.call('HMGET', job_key(id), 'state', 'run')
  answer[#answer + 1] = v[1] or ''
  answer[#answer + 1] = num(v[2])
end
return answer
