-- A reception was not accepted: its job never was. Watchers are told 'gone', when what was sent already is taken back.
-- ARGV: id   ->  1 | 0
local id = ARGV[1]
if redis.call('HGET', job_key(id), 'state') ~= 'receiving' then return 0 end
abandon(id, false)
return 1
