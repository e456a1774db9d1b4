-- ARGV: request or '' -> the JSON of that check ('' when it is not there yet), then the flat hash of all destinations' health
return {redis.call('GET', P .. 'check:' .. ARGV[1]) or '', redis.call('HGETALL', P .. 'health')}
