-- Shared by every script. PREFIX begins every key, NOW is the caller's time in Unix seconds; a script's own arguments
-- follow in ARGV. Single primary: keys are derived here (see keys.py), so they are not declared in KEYS.

-- the versions that have a subqueue, and '' for the subqueue of unassigned jobs
local function subqueues(model)
  local versions = redis.call('SMEMBERS', subqueues_key(model))
  versions[#versions + 1] = ''
  return versions
end

local function queue_length(model)
  local n = 0
  for _, version in ipairs(subqueues(model)) do n = n + redis.call('ZCARD', subqueue_key(model, version)) end
  return n
end

local function queue_position(model, sort_key)
  local n = 0
  for _, version in ipairs(subqueues(model)) do
    n = n + redis.call('ZLEXCOUNT', subqueue_key(model, version), '-', '(' .. sort_key)
  end
  return n
end

local function queue_cost(model)
  return redis.call('HGET', fair_key(model), 'cost') or '0'
end

local function job_id_of(sort_key) return string.match(sort_key, '|(.*)$') end

local function wake_routers()
  redis.call('PUBLISH', wakeup_channel_key(), '')
end

-- one more event of a job, for whoever follows it; returns the message that was published
local function emit_event(job_id, type, data)
  local id = redis.call('XADD', events_key(job_id), 'MAXLEN', '~', 1000, '*', 't', type, 'a', NOW, 'd', data)
  local message = cjson.encode({ stream = job_id, id = id, type = type, at = NOW, data = data })
  redis.call('PUBLISH', stream_channel_key(job_id), message)
  return message
end

local function enqueue(job)
  redis.call('ZADD', subqueue_key(job.model, job.subqueue), 0, job.sort_key)
  if job.subqueue ~= '' then redis.call('SADD', subqueues_key(job.model), job.subqueue) end
  redis.call('HINCRBYFLOAT', fair_key(job.model), 'cost', job.cost)
  redis.call('ZADD', deadlines_key(), job.expires_at, job.id)
end

-- the busy period ends: virtual time moves on to the last finish tag, and no tenant owes anything
local function reset_virtual_time(model)
  local all, latest = redis.call('HGETALL', fair_key(model)), {}
  for i = 1, #all, 2 do
    local kind, priority = string.match(all[i], '^([vf]):(%d)')
    if kind then
      latest[priority] = math.max(latest[priority] or 0, tonumber(all[i + 1]))
    end
  end
  redis.call('DEL', fair_key(model))
  for priority, tag in pairs(latest) do
    redis.call('HSET', fair_key(model), 'v:' .. priority, string.format('%.0f', tag))
  end
end

local function delete_empty_subqueue(model, version)
  if version ~= '' and redis.call('ZCARD', subqueue_key(model, version)) == 0 then
    redis.call('SREM', subqueues_key(model), version)
  end
end

local function dequeue(job)
  redis.call('ZREM', subqueue_key(job.model, job.subqueue), job.sort_key)
  redis.call('ZREM', deadlines_key(), job.id)
  redis.call('HINCRBYFLOAT', fair_key(job.model), 'cost', -job.cost)
  delete_empty_subqueue(job.model, job.subqueue)
  if queue_length(job.model) == 0 then reset_virtual_time(job.model) end
end

-- writes the version on a leased job, so that a retry goes to the same one, and emits 'started'
local function start(job_id, version, attempt)
  redis.call('HSET', job_key(job_id), 'version', version, 'subqueue', version)
  emit_event(job_id, 'started', '{"version":"' .. version .. '","attempt":' .. attempt .. '}')
end

local FIELDS = { 'state', 'model', 'subqueue', 'sort_key', 'cost', 'expires_at', 'origin', 'token', 'attempts',
  'max_attempts', 'inputs', 'version', 'pin', 'owner', 'started' }

-- the fields that the scripts need, '' for those that are not set; nil where there is no such job
local function load_job(job_id)
  local values = redis.call('HMGET', job_key(job_id), unpack(FIELDS))
  if not values[1] then return nil end
  local job = { id = job_id }
  for i, name in ipairs(FIELDS) do job[name] = values[i] or '' end
  return job
end

-- the job, if it is running under this lease
local function load_leased_job(job_id, token)
  local job = load_job(job_id)
  if job and job.state == 'running' and job.token == token then return job end
end

-- the job, if it is this owner's; '*' is everybody's: administrators'
local function load_owned_job(job_id, owner)
  local job = load_job(job_id)
  if job and (owner == '*' or job.owner == owner) then return job end
end

-- Keeps a blob for so many seconds more. The handle of one in the object store is 'object:' and its key: a sweep
-- deletes it once it is due.
local function expire_blob(handle, seconds)
  local object = string.match(handle, '^object:(.+)$')
  if object then
    redis.call('ZADD', garbage_key(), NOW + seconds, object)
  elseif tonumber(seconds) > 0 then
    redis.call('EXPIRE', handle, seconds)
  else
    redis.call('DEL', handle)
  end
end

local function expire_blobs(handles, seconds)
  for _, handle in ipairs(cjson.decode(handles)) do expire_blob(handle, seconds) end
end

-- back to its subqueue, in its old place
local function requeue(job)
  redis.call('HSET', job_key(job.id), 'state', 'queued', 'token', '', 'holder', '')
  redis.call('ZREM', leases_key(), job.id)
  enqueue(job)
  wake_routers()
end

-- back to the queue for a version ('' for none), in its old place; it counts as no attempt
local function reassign(job, version)
  redis.call('HINCRBY', job_key(job.id), 'attempts', -1)
  redis.call('HSET', job_key(job.id), 'version', version, 'subqueue', version)
  job.subqueue = version
  requeue(job)
end

-- ends a job: the last event is written and the lease released in the same step
local function conclude(job, state, ttl_seconds, data)
  if job.state == 'queued' then dequeue(job) end
  redis.call('ZREM', leases_key(), job.id)
  redis.call('HSET', job_key(job.id), 'state', state, 'finished', NOW, 'token', '', 'holder', '')
  if state ~= 'dead' then expire_blobs(job.inputs, 0) end
  local message = emit_event(job.id, 'finished', data)
  if job.origin ~= '' then redis.call('PUBLISH', origin_channel_key(job.origin), message) end
  redis.call('EXPIRE', job_key(job.id), ttl_seconds)
  redis.call('EXPIRE', events_key(job.id), ttl_seconds)
end

local function fail(job, problem, ttl_seconds)
  redis.call('HSET', job_key(job.id), 'error', problem)
  conclude(job, 'failed', ttl_seconds, '{"state":"failed","error":' .. problem .. '}')
end

-- a lease was lost: the job is queued again, or after its last attempt a dead letter
local function retry_or_bury(job, problem, dead_ttl_seconds)
  if tonumber(job.attempts) >= tonumber(job.max_attempts) then
    redis.call('HSET', job_key(job.id), 'error', problem)
    redis.call('ZADD', dead_key(), NOW, job.id)
    expire_blobs(job.inputs, dead_ttl_seconds)
    conclude(job, 'dead', dead_ttl_seconds, '{"state":"dead","error":' .. problem .. '}')
    return 'dead'
  end
  requeue(job)
  emit_event(job.id, 'retrying', '{"attempt":' .. job.attempts .. ',"error":' .. problem .. '}')
  return 'queued'
end
