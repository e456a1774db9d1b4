-- Tells the progress that was coalesced away, if it is still owed: the last one is always told.
-- ARGV: ids   ->  how many were told
local told = 0
for _, id in ipairs(ARGV) do
  if redis.call('HGET', job_key(id), 'dirty') == '1' then
    emit(id, 'progress')
    told = told + 1
  end
end
return told
