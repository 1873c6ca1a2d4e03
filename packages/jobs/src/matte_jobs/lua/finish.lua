-- The first result wins, whoever brings it; a canceled job takes none.
-- 3 id, 4 result (JSON), 5 seconds to keep, 6 key of the version's samples, 7 how many of about one size are kept, then
-- the handles of the blobs that were stored just before; their keys bear the lease's token, so a late result never
-- replaces the first

-- What a job cost, for the ETAs of others: 'megapixels:seconds', the newest first, by power of two of its size, so that
-- a flood of small pictures leaves what is known of large ones.
local function sample(key, most, megapixels, seconds)
  local size = math.floor(math.log(megapixels) / math.log(2))
  local recent, n = { string.format('%.3f:%.3f', megapixels, seconds) }, tonumber(most)
  for one in string.gmatch(redis.call('HGET', key, size) or '', '%S+') do
    if #recent < n then recent[#recent + 1] = one end
  end
  redis.call('HSET', key, size, table.concat(recent, ' '))
end

local job = load(ARGV[3])
if not job or (job.state ~= 'running' and job.state ~= 'queued') then
  local kept = job and redis.call('HGET', job_key(job.id), 'result') or ''
  for i = 8, #ARGV do
    local key = string.gsub(ARGV[i], '^object:', '')
    local again = kept and string.find(kept, key, 1, true)
    keep_blob(ARGV[i], again and ARGV[5] or 0)
  end
  return 0
end
for i = 8, #ARGV do keep_blob(ARGV[i], ARGV[5]) end
redis.call('HSET', job_key(job.id), 'result', ARGV[4])
if job.state == 'running' then sample(ARGV[6], ARGV[7], job.cost, NOW - job.started) end
conclude(job, 'succeeded', ARGV[5], '{"state":"succeeded","result":' .. ARGV[4] .. '}')
return 1
