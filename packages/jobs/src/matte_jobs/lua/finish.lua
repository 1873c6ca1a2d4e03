-- The first result wins, whoever brings it; a canceled job takes none. handles: of the result's blobs as JSON, which
-- were set just before; their keys have the lease's token, so that a late result never replaces the first
local job_id, result, result_ttl_seconds, version, max_samples, handles = unpack(ARGV, 3)

-- What a job cost, for the ETAs of others: 'megapixels:seconds', the newest first, by power of two of its size, so that
-- a flood of small pictures leaves what is known of large ones.
local function record_sample(key, megapixels, seconds)
  local size = math.floor(math.log(megapixels) / math.log(2))
  local recent = { string.format('%.3f:%.3f', megapixels, seconds) }
  for sample in string.gmatch(redis.call('HGET', key, size) or '', '%S+') do
    if #recent < tonumber(max_samples) then recent[#recent + 1] = sample end
  end
  redis.call('HSET', key, size, table.concat(recent, ' '))
end

local job = load_job(job_id)
if not job or (job.state ~= 'running' and job.state ~= 'queued') then
  local first_result = job and redis.call('HGET', job_key(job_id), 'result') or ''
  for _, handle in ipairs(cjson.decode(handles)) do
    local key = string.gsub(handle, '^object:', '')
    local sent_again = string.find(first_result, key, 1, true)
    expire_blob(handle, sent_again and result_ttl_seconds or 0)
  end
  return 0
end
expire_blobs(handles, result_ttl_seconds)
redis.call('HSET', job_key(job_id), 'result', result)
if job.state == 'running' then record_sample(samples_key(job.model, version), job.cost, NOW - job.started) end
conclude(job, 'succeeded', result_ttl_seconds, '{"state":"succeeded","result":' .. result .. '}')
return 1
