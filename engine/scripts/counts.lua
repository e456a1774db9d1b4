-- All that was counted. ARGV: none -> flat list name, amount
return redis.call('HGETALL', P .. 'counts')
