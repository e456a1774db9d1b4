-- The end of a request whose upload was counted: what became no job is given back.
-- ARGV: key, token or '', bytes that were counted (with the first id), bytes that came, clock of its admission, id whose admission had no
--   answer or '', ids that its jobs were to have …
-- -> how many of them are jobs
local key, token, charged, came, at, lost = ARGV[1], P .. 'token:' .. ARGV[2], num(ARGV[3]), num(ARGV[4]), num(ARGV[5]), ARGV[6]
local made, missed, counted = 0, 0, false
for i = 7, #ARGV do
  local id = ARGV[i]
  local admitted = redis.call('GET', P .. 'admitted:' .. id)
  -- Told once more, because the answer was lost: nothing is given back twice. An admission that comes only after this counts nothing.
  local first = redis.call('SET', P .. 'left:' .. id, '1', 'NX', 'PX', LEFT_MS)
  if first and (id ~= lost or admitted) then
    if i == 7 then counted = true end
    if i == 7 and id == lost then at = num(admitted) end
    if redis.call('EXISTS', job_key(id)) == 1 then
      made = made + 1
    else
      missed = missed + 1
      redis.call('ZREM', P .. 'open:' .. key, id)
    end
  end
end
if ARGV[2] ~= '' and missed > 0 and redis.call('EXISTS', token) == 1 then redis.call('HINCRBY', token, 'used', -missed) end
local day = P .. 'quota:' .. key .. ':bytes:' .. math.floor(at / 86400000)
local rest = P .. 'quota:' .. key .. ':rest:' .. math.floor(at / 86400000)
local had_rest = redis.call('HGET', rest, 'id') == ARGV[7]
if had_rest then redis.call('DEL', rest) end
local rested = redis.call('GET', P .. 'rested:' .. ARGV[7])   -- what admit.lua has counted of it
local owed = counted and (made > 0 and came or 0) - charged - num(rested) or 0
if owed < 0 or (owed > 0 and (had_rest or rested)) then
  redis.call('INCRBY', day, owed)
  redis.call('PEXPIRE', day, DAY_KEPT)
end
return made
