-- A credential, as long as it lives: a token no longer than its key. ARGV: 'key' | 'token', id
-- -> {} | {JSON of the key or '' (the bootstrap key has none), JSON of the token or '', ms that both still live or 0: no end}
local id, token, left = ARGV[2], '', 0
if ARGV[1] == 'token' then
  local v = redis.call('HMGET', P .. 'token:' .. id, 'record', 'key')
  if not v[1] then return {} end
  left = redis.call('PTTL', P .. 'token:' .. id)
  token, id = v[1], v[2]
  if id == 'bootstrap' then return {'', token, left} end
end
local v = redis.call('HMGET', P .. 'key:' .. id, 'record', 'expires', 'revoked')
local ends = num(v[2])
if not v[1] or v[3] or (ends > 0 and ends <= now) then return {} end
if ends > 0 and (left == 0 or ends - now < left) then left = ends - now end
return {v[1], token, left}
