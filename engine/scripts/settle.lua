-- The object is complete and verified (or on_conflict skipped it): the transfer succeeded.
-- ARGV: tid, fence, etag, version, checksum, verified_by, crc32c of the source, orphan JSON or '', key or '', url or ''
-- -> {'ok' | 'stale', final state of the job or ''}
local tid, fence = ARGV[1], ARGV[2]
local t, id = key_of(tid), job_of(tid)
if redis.call('HGET', t .. ':fences', 0) ~= fence then return {'stale', ''} end
local v = redis.call('HMGET', t, 'size', 'sent', 'floor')
redis.call('HINCRBY', P .. 'totals', 'sent', num(v[1]) - num(v[2]))
redis.call('HSET', t, 'sent', v[1], 'etag', ARGV[3], 'version', ARGV[4], 'checksum', ARGV[5], 'verified_by', ARGV[6], 'error', '',
  'finished', now)
if ARGV[9] ~= '' then redis.call('HSET', t, 'key', ARGV[9], 'url', ARGV[10]) end
if ARGV[7] ~= '' and (redis.call('HGET', job_key(id), 'crc32c') or '') == '' then
  redis.call('HSET', job_key(id), 'crc32c', ARGV[7])
end
if ARGV[8] ~= '' then redis.call('HSET', P .. 'orphans', tid, ARGV[8]) end
return {'ok', finish_transfer(tid, 'succeeded')}
