-- A file is still being received, and is sent already: what can be read of it goes. Its transfers wait for the rest.
-- ARGV: id, spec JSON, size, lease_max_ms, lost ('1': Redis lost what had begun before | ''), transfers JSON (as of accept.lua)   ->  1 | 0
local id, size = ARGV[1], ARGV[3]
local v = redis.call('HMGET', job_key(id), 'state', 'transfers', 'abandoned')
if v[1] ~= 'receiving' or num(v[2]) > 0 or v[3] then return 0 end
local transfers = cjson.decode(ARGV[6])
redis.call('HSET', job_key(id), 'spec', ARGV[2], 'size', size, 'transfers', #transfers)
for n, plan in ipairs(transfers) do
  local tid = id .. '/' .. (n - 1)
  new_transfer(tid, plan, size, 0, ARGV[5] == '1', ARGV[4])
  -- One call for all of it cannot begin before all of it is there.
  redis.call('HSET', key_of(tid), 'tokens', 0, 'hold', plan.whole and 'receiving' or '')
end
touch_job(id)
return 1
