-- One reconciliation is done: the ledger may be trusted from here on. ARGV: at least this -> the new epoch
if num(redis.call('GET', P .. 'epoch')) < num(ARGV[2]) then return 0 end
local epoch = math.max(num(redis.call('GET', P .. 'epoch')), num(ARGV[1])) + 1
redis.call('SET', P .. 'epoch', epoch)
redis.call('SET', P .. 'schema', 1)
return epoch
