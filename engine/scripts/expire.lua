-- The bytes of a job will not come any more. ARGV: id   ->  the job's state, or '' when there is none
local id = ARGV[1]
if redis.call('HGET', job_key(id), 'state') == 'receiving' then
  abandon(id, true)
end
return redis.call('HGET', job_key(id), 'state') or ''
