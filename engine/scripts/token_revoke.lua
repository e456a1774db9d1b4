-- Ends a token. ARGV: id, id of its key ('' : anybody's)  ->  1 | 0
local key = P .. 'token:' .. ARGV[1]
local owner = redis.call('HGET', key, 'key')
if not owner or (ARGV[2] ~= '' and ARGV[2] ~= owner) then return 0 end
return redis.call('DEL', key)
