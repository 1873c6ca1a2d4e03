-- The first result wins, whoever brings it; a cancelled job takes none.
-- 3 id, 4 result (JSON), 5 seconds to keep, 6 stats key, 7 seconds per megapixel, then pairs of blob key and bytes
local job = load(ARGV[3])
if not job or (job.state ~= 'running' and job.state ~= 'queued') then return 0 end
for i = 8, #ARGV, 2 do redis.call('SET', ARGV[i], ARGV[i + 1], 'EX', ARGV[5]) end
redis.call('HSET', jobkey(job.id), 'result', ARGV[4])
local before = tonumber(redis.call('HGET', ARGV[6], 'spmp') or ARGV[7])
redis.call('HSET', ARGV[6], 'spmp', string.format('%.6f', before * 0.9 + tonumber(ARGV[7]) * 0.1))
redis.call('HINCRBY', ARGV[6], 'count', 1)
conclude(job, 'succeeded', ARGV[5], '{"state":"succeeded","result":' .. ARGV[4] .. '}')
return 1
