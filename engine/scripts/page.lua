-- Ids of an index, newest first. ARGV: index ('jobs', 'jobs:STATE', 'owner:OWNER'), after this id ('' = from the newest), limit
return redis.call('ZRANGE', P .. ARGV[1], ARGV[2] == '' and '+' or '(' .. ARGV[2], '-', 'BYLEX', 'REV', 'LIMIT', 0, ARGV[3])
