-- A reception is alive and has this many bytes.
-- ARGV: id, bytes, reception_ms   ->  the job's state, or '' when it is gone
local id, bytes, reception = ARGV[1], ARGV[2], ARGV[3]
local state = redis.call('HGET', job_key(id), 'state') or ''
if state ~= 'receiving' then return state end
redis.call('HSET', job_key(id), 'received', bytes, 'updated', now)
redis.call('ZADD', P .. 'receiving', now + reception, id)
progress(id)
return state
