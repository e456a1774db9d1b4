-- The receipts of a transfer, for its completion. ARGV: tid -> flat list number, packed receipt
return redis.call('HGETALL', key_of(ARGV[1]) .. ':receipts')
