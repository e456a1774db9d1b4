-- The end of a request whose upload was counted: what became no job is given back.
-- ARGV: key, token or '', bytes that were counted, bytes that came, clock of its admission, ids that its jobs were to have …
-- -> how many of them are jobs
local key, token, charged, came = ARGV[1], P .. 'token:' .. ARGV[2], num(ARGV[3]), num(ARGV[4])
-- Told once more, because the answer was lost: nothing is given back twice.
if not redis.call('SET', P .. 'left:' .. ARGV[6], '1', 'NX', 'PX', 600000) then return 0 end
local made, missed = 0, 0
for i = 6, #ARGV do
  if redis.call('EXISTS', job_key(ARGV[i])) == 1 then
    made = made + 1
  else
    missed = missed + 1
    redis.call('ZREM', P .. 'open:' .. key, ARGV[i])
  end
end
if ARGV[2] ~= '' and missed > 0 and redis.call('EXISTS', token) == 1 then redis.call('HINCRBY', token, 'used', -missed) end
local day = P .. 'quota:' .. key .. ':bytes:' .. math.floor(num(ARGV[5]) / 86400000)
local owed = (made > 0 and came or 0) - charged
if owed ~= 0 then
  redis.call('INCRBY', day, owed)
  redis.call('PEXPIRE', day, 90000000)
end
return made
