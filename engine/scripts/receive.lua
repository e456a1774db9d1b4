-- A reception begins: the job exists from its first byte.
-- ARGV: id, spec JSON, owner, node, size or '', reception_ms, retain_ms or ''   ->  'created' | 'exists'
--   retain_ms: when its bytes do not come it ends `expired`, and its record stays so long; '': then nothing stays of it
local id, spec, owner, node, size, reception = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if redis.call('EXISTS', job_key(id)) == 1 then return 'exists' end
redis.call('HSET', job_key(id), 'spec', spec, 'owner', owner, 'node', node, 'size', size, 'received', 0, 'run', 1, 'rev', 0,
  'created', now, 'updated', now, 'transfers', 0)
if ARGV[7] ~= '' then redis.call('HSET', job_key(id), 'retain_ms', ARGV[7]) end
redis.call('ZADD', P .. 'jobs', 0, id)
if owner ~= '' then redis.call('ZADD', P .. 'owner:' .. owner, 0, id) end
redis.call('ZADD', P .. 'receiving', now + reception, id)
set_state(id, 'receiving')
emit(id, 'state')
return 'created'
