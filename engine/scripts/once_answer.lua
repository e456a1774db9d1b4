-- What the client is about to be told, so that it can be told once more. ARGV: name, fence, status, location, body   ->  1 | 0
local t = P .. 'once:' .. ARGV[1]
local C = redis.call('HMGET', t, 'fence', 'made')
if C[1] ~= ARGV[2] or num(C[2]) == 0 then return 0 end
redis.call('HSET', t, 'status', ARGV[3], 'location', ARGV[4], 'body', ARGV[5])
return 1
