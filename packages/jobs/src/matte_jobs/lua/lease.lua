-- Takes up to `limit` jobs of a model in the queue's order: those that have one of the versions in free_slots (a JSON
-- object of slots by version), and where `unassigned` is '1' those that have none. They all get only_version; where it
-- is '', the caller chooses. A job that has or gets its version is started in the same step.
-- returns id, token, attempt, spec and version of each
local model, holder, expires_at, limit, unassigned, only_version, free_slots = unpack(ARGV, 3)
limit = tonumber(limit)
-- free slots by version; '' is for jobs whose version the caller chooses
local free = cjson.decode(free_slots)
-- by open subqueue, whose slots its jobs take
local takes = {}
for version in pairs(free) do takes[version] = version end
if unassigned == '1' and only_version == '' then free[''], takes[''] = limit, '' end
if unassigned == '1' and free[only_version] then takes[''] = only_version end

local taken = {}
while #taken < limit do
  local first, subqueue
  for open, version in pairs(takes) do
    if free[version] > 0 then
      local head = redis.call('ZRANGE', subqueue_key(model, open), 0, 0)[1]
      if head and (not first or head < first) then first, subqueue = head, open end
    end
  end
  if not first then break end
  local version, job_id = takes[subqueue], job_id_of(first)
  free[version] = free[version] - 1
  local priority, tag = string.sub(first, 1, 1), tonumber(string.sub(first, 2, 16))
  local virtual_time = tonumber(redis.call('HGET', fair_key(model), 'v:' .. priority) or '0')
  if tag > virtual_time then redis.call('HSET', fair_key(model), 'v:' .. priority, string.format('%.0f', tag)) end
  local spec, cost = unpack(redis.call('HMGET', job_key(job_id), 'spec', 'cost'))
  dequeue({ id = job_id, model = model, subqueue = subqueue, sort_key = first, cost = cost })
  local attempt = redis.call('HINCRBY', job_key(job_id), 'attempts', 1)
  local token = holder .. ':' .. redis.call('INCR', token_sequence_key())
  redis.call('HSET', job_key(job_id), 'state', 'running', 'token', token, 'holder', holder, 'started', NOW)
  redis.call('ZADD', leases_key(), expires_at, job_id)
  if version ~= '' then start(job_id, version, attempt) end
  taken[#taken + 1] = { job_id, token, attempt, spec, version }
end
return taken
