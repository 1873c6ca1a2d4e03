-- The first result wins, whoever brings it; a cancelled job takes none.
-- 3 id, 4 result (JSON), 5 seconds to keep, 6 stats key, 7 seconds per megapixel, then the keys of the blobs that were
-- set just before, in the same transaction; they bear the lease's token, so a late result never replaces the first
local job = load(ARGV[3])
if not job or (job.state ~= 'running' and job.state ~= 'queued') then
  local kept = job and redis.call('HGET', jobkey(job.id), 'result') or ''
  for i = 8, #ARGV do
    if kept and string.find(kept, ARGV[i], 1, true) then
      redis.call('EXPIRE', ARGV[i], ARGV[5])
    else
      redis.call('DEL', ARGV[i])
    end
  end
  return 0
end
for i = 8, #ARGV do redis.call('EXPIRE', ARGV[i], ARGV[5]) end
redis.call('HSET', jobkey(job.id), 'result', ARGV[4])
local before = tonumber(redis.call('HGET', ARGV[6], 'spmp') or ARGV[7])
redis.call('HSET', ARGV[6], 'spmp', string.format('%.6f', before * 0.9 + tonumber(ARGV[7]) * 0.1))
redis.call('HINCRBY', ARGV[6], 'count', 1)
conclude(job, 'succeeded', ARGV[5], '{"state":"succeeded","result":' .. ARGV[4] .. '}')
return 1
