-- A node looked after the spool files of finished jobs: done with them, or it must look again later.
-- ARGV: node, then id, again_at_ms or 0 …   ->  'ok'
local index = P .. 'releasing:' .. ARGV[1]
for i = 2, #ARGV, 2 do
  local id, again = ARGV[i], ARGV[i + 1]
  local state = redis.call('HGET', job_key(id), 'state')
  if not state then
    redis.call('ZREM', index, id)
  elseif JOB_OVER[state] then
    if again == '0' then
      redis.call('ZREM', index, id)
      redis.call('HSET', job_key(id), 'until', 0)
    else
      redis.call('ZADD', index, again, id)
    end
  end
end
return 'ok'
