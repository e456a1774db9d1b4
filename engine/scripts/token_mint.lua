-- A short-lived token. ARGV: id, JSON, id of its key, life in ms  ->  when it ends, or 0: its key does not live
local key, ends = ARGV[3], now + ARGV[4]
if key ~= 'bootstrap' then
  local v = redis.call('HMGET', P .. 'key:' .. key, 'record', 'expires', 'revoked')
  if not v[1] or v[3] or (num(v[2]) > 0 and num(v[2]) <= now) then return 0 end
  if num(v[2]) > 0 and num(v[2]) < ends then ends = num(v[2]) end
end
redis.call('HSET', P .. 'token:' .. ARGV[1], 'record', ARGV[2], 'key', key, 'used', 0)
redis.call('PEXPIREAT', P .. 'token:' .. ARGV[1], ends)
return ends
