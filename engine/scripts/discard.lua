-- A reception was not accepted: its job never was. Watchers are told 'gone'.
-- ARGV: id   ->  1 | 0
local id = ARGV[1]
local v = redis.call('HMGET', job_key(id), 'state', 'owner')
if v[1] ~= 'receiving' then return 0 end
emit(id, 'gone')
forget(id, v[2])
return 1
