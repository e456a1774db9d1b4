-- A request made no job that it knows of: its key may be used by the next one. ARGV: name, fence   ->  1 | 0
local t = P .. 'once:' .. ARGV[1]
local C = redis.call('HMGET', t, 'fence', 'made', 'ids')
if C[1] ~= ARGV[2] or num(C[2]) > 0 then return 0 end
-- With ids it may be that an answer of the ledger was lost: the next one has to look at the disk.
if C[3] ~= '' then redis.call('HSET', t, 'until', 0) else redis.call('DEL', t) end
return 1
