-- Finished jobs as their tombstones keep them. ARGV: ids -> list of {} | {job hash, transfer hash, …}
local answer = {}
for i, id in ipairs(ARGV) do
  local job = redis.call('HGETALL', job_key(id))
  local one = {}
  if #job > 0 then
    one[1] = job
    for n = 0, num(redis.call('HGET', job_key(id), 'transfers')) - 1 do one[n + 2] = redis.call('HGETALL', key_of(id .. '/' .. n)) end
  end
  answer[i] = one
end
return answer
