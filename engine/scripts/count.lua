-- What a process counted since its last batch, added to what all have counted. A batch that comes twice counts once.
-- ARGV: process, number of the batch (grows), then name and amount of each -> 1, or 0 when it was there already
local mark = P .. 'counted:' .. ARGV[1]
if num(redis.call('GET', mark)) >= num(ARGV[2]) then return 0 end
redis.call('SET', mark, ARGV[2], 'PX', COUNTED_KEPT)
for i = 3, #ARGV, 2 do redis.call('HINCRBYFLOAT', P .. 'counts', ARGV[i], ARGV[i + 1]) end
return 1
