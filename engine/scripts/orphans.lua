-- Sessions that could not be aborted, as pairs of transfer and JSON {destination, fingerprint, key, session}; and the epoch, '' when there is none
return {redis.call('GET', P .. 'epoch') or '', redis.call('HGETALL', P .. 'orphans')}
