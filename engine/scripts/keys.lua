-- All API keys  ->  flat list of JSON, 'active' | 'expired' | 'revoked', unfinished jobs
local answer = {}
for _, id in ipairs(redis.call('SMEMBERS', P .. 'keys')) do
  local v = redis.call('HMGET', P .. 'key:' .. id, 'record', 'expires', 'revoked')
  if v[1] then
    local state = v[3] and 'revoked' or (num(v[2]) > 0 and num(v[2]) <= now and 'expired') or 'active'
    answer[#answer + 1] = v[1]
    answer[#answer + 1] = state
    answer[#answer + 1] = redis.call('ZCOUNT', P .. 'open:' .. id, '(' .. now, '+inf')
  end
end
return answer
