-- Ends an API key, and with it its tokens. Its record stays: jobs name it. ARGV: id  ->  'done' | 'already' | 'missing'
local key = P .. 'key:' .. ARGV[1]
if redis.call('EXISTS', key) == 0 then return 'missing' end
if redis.call('HSETNX', key, 'revoked', now) == 0 then return 'already' end
return 'done'
