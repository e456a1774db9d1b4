-- Everything known of one transfer's parts. ARGV: tid -> {transfer, receipts, leases, due, tries, errors, failed attempts} as flat lists
local t = key_of(ARGV[1])
return {redis.call('HGETALL', t), redis.call('HGETALL', t .. ':receipts'), redis.call('ZRANGE', t .. ':leases', 0, -1, 'WITHSCORES'),
  redis.call('ZRANGE', t .. ':due', 0, -1, 'WITHSCORES'), redis.call('HGETALL', t .. ':tries'), redis.call('HGETALL', t .. ':errors'),
  redis.call('LRANGE', t .. ':failed', 0, -1)}
