-- The first result wins, whoever brings it; a cancelled job takes none.
-- 3 id, 4 result (JSON), 5 seconds to keep, 6 stats key, 7 seconds per megapixel, then the handles of the blobs that
-- were stored just before; their keys bear the lease's token, so a late result never replaces the first
local job = load(ARGV[3])
if not job or (job.state ~= 'running' and job.state ~= 'queued') then
  local kept = job and redis.call('HGET', jobkey(job.id), 'result') or ''
  for i = 8, #ARGV do
    local key = string.gsub(ARGV[i], '^object:', '')
    local again = kept and string.find(kept, key, 1, true)
    keep_blob(ARGV[i], again and ARGV[5] or 0)
  end
  return 0
end
for i = 8, #ARGV do keep_blob(ARGV[i], ARGV[5]) end
redis.call('HSET', jobkey(job.id), 'result', ARGV[4])
local before = tonumber(redis.call('HGET', ARGV[6], 'spmp') or ARGV[7])
redis.call('HSET', ARGV[6], 'spmp', string.format('%.6f', before * 0.9 + tonumber(ARGV[7]) * 0.1))
redis.call('HINCRBY', ARGV[6], 'count', 1)
conclude(job, 'succeeded', ARGV[5], '{"state":"succeeded","result":' .. ARGV[4] .. '}')
return 1
