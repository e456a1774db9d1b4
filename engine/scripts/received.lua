-- A reception is alive and has this many bytes; those that can be read are sent, if its transfers have begun (early.lua).
-- ARGV: id, bytes, reception_ms, bytes that can be read   ->  {the job's state or '' when it is gone, tid, mint, count, lane, …}
local id, bytes, reception, readable = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local v = redis.call('HMGET', job_key(id), 'state', 'transfers', 'abandoned')
local state = v[1] or ''
if state ~= 'receiving' then return {state} end
-- Given up while it was silent, and it lives: to it that is a ledger that lost it, and it begins again when all is taken back.
if v[3] then return {v[3] == 'expire' and 'expired' or ''} end
redis.call('HSET', job_key(id), 'received', bytes, 'updated', now)
redis.call('ZADD', P .. 'receiving', now + reception, id)
local answer = {state}
for n = 0, num(v[2]) - 1 do
  local tid = id .. '/' .. n
  local T = load(key_of(tid))
  if T.state and not OVER[T.state] then
    local available = readable >= num(T.size) and num(T.total) or math.floor(readable / num(T.part_size))
    redis.call('HSET', key_of(tid), 'available', available)
    -- The file is shorter than it was: after a power cut. What was sent of the part that is gone may be another one's.
    if num(T.next) > available + 1 and T.ending == '' then start_ending(tid, T, 'restart', '') end
    local more = top_up(tid)
    if more[3] > 0 then
      for _, word in ipairs({tid, tostring(more[2]), tostring(more[3]), more[1]}) do answer[#answer + 1] = word end
    end
  end
end
progress(id)
return answer
