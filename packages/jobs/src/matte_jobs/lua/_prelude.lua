-- Shared by every script. ARGV[1] is the key prefix, ARGV[2] the caller's time in Unix seconds.
-- Single primary: keys are derived here, so they are not declared in KEYS.
local P, NOW = ARGV[1], ARGV[2]

local function job_key(id) return P .. 'job:' .. id end
local function subqueues_key(model) return P .. 'subqueues:' .. model end
local function fair_key(model) return P .. 'fair:' .. model end
local function subqueue_key(model, version)
  if version == '' then return P .. 'q:' .. model end
  return P .. 'q:' .. model .. '@' .. version
end

-- every subqueue of a model: the unassigned one, and one per version that has jobs of its own
local function subqueues(model)
  local all = redis.call('SMEMBERS', subqueues_key(model))
  all[#all + 1] = ''
  return all
end

local function length(model)
  local n = 0
  for _, version in ipairs(subqueues(model)) do n = n + redis.call('ZCARD', subqueue_key(model, version)) end
  return n
end

local function position(model, sort_key)
  local n = 0
  for _, version in ipairs(subqueues(model)) do
    n = n + redis.call('ZLEXCOUNT', subqueue_key(model, version), '-', '(' .. sort_key)
  end
  return n
end

local function wake_routers()
  redis.call('PUBLISH', P .. 'wakeup', '')
end

-- one more event of a job, for whoever follows it
local function emit(id, kind, data)
  local key = P .. 'ev:' .. id
  local sid = redis.call('XADD', key, 'MAXLEN', '~', 1000, '*', 't', kind, 'a', NOW, 'd', data)
  local message = cjson.encode({ job = id, id = sid, type = kind, at = NOW, data = data })
  redis.call('PUBLISH', P .. 'n:job:' .. id, message)
  return sid, message
end

local function enqueue(id, model, version, sort_key, cost, expires)
  redis.call('ZADD', subqueue_key(model, version), 0, sort_key)
  if version ~= '' then redis.call('SADD', subqueues_key(model), version) end
  redis.call('HINCRBYFLOAT', fair_key(model), 'cost', cost)
  redis.call('ZADD', P .. 'deadlines', expires, id)
end

-- the busy period ends: virtual time moves on to the last finish tag, and no tenant owes anything
local function reset_virtual_time(model)
  local fair, all = fair_key(model), redis.call('HGETALL', fair_key(model))
  local latest = {}
  for i = 1, #all, 2 do
    local kind, priority = string.match(all[i], '^([vf]):(%d)')
    if kind then
      latest[priority] = math.max(latest[priority] or 0, tonumber(all[i + 1]))
    end
  end
  redis.call('DEL', fair)
  for priority, tag in pairs(latest) do redis.call('HSET', fair, 'v:' .. priority, string.format('%.0f', tag)) end
end

-- takes a job out of its subqueue
local function dequeue(id, model, version, sort_key, cost)
  local subqueue = subqueue_key(model, version)
  redis.call('ZREM', subqueue, sort_key)
  redis.call('ZREM', P .. 'deadlines', id)
  redis.call('HINCRBYFLOAT', fair_key(model), 'cost', -cost)
  if version ~= '' and redis.call('ZCARD', subqueue) == 0 then redis.call('SREM', subqueues_key(model), version) end
  if length(model) == 0 then reset_virtual_time(model) end
end

-- What is before a queued job: version and cost of each of the first n in line, and of each of those that run, with
-- the moment it was leased; of all that run, n of the longest leased are looked at.
local function before(job, n)
  local line, ahead, running = {}, {}, {}
  for _, version in ipairs(subqueues(job.model)) do
    local subqueue = subqueue_key(job.model, version)
    for _, sort_key in ipairs(redis.call('ZRANGEBYLEX', subqueue, '-', '(' .. job.sort_key, 'LIMIT', 0, n)) do
      line[#line + 1] = { sort_key, version }
    end
  end
  table.sort(line, function(a, b) return a[1] < b[1] end)
  for i = 1, math.min(n, #line) do
    ahead[i] = { line[i][2], redis.call('HGET', job_key(string.match(line[i][1], '|(.*)$')), 'cost') }
  end
  for _, id in ipairs(redis.call('ZRANGE', P .. 'leases', 0, n - 1)) do
    local held = redis.call('HMGET', job_key(id), 'model', 'version', 'cost', 'started')
    if held[1] == job.model then running[#running + 1] = { held[2], held[3], held[4] } end
  end
  return ahead, running
end

-- writes the arm on a leased job, so that a retry goes to the same version, and tells whoever waits
local function start(id, version, attempt)
  redis.call('HSET', job_key(id), 'version', version, 'subqueue', version)
  emit(id, 'started', '{"version":"' .. version .. '","attempt":' .. attempt .. '}')
end

local FIELDS = { 'state', 'model', 'subqueue', 'sort_key', 'cost', 'expires', 'origin', 'token', 'attempts', 'max_attempts',
  'inputs', 'version', 'pin', 'owner', 'started' }
local function load(id)
  local values = redis.call('HMGET', job_key(id), unpack(FIELDS))
  if not values[1] then return nil end
  local job = { id = id }
  for i, name in ipairs(FIELDS) do job[name] = values[i] or '' end
  return job
end

-- The job, for its owner: to others there is none. '*' is everybody's: administrators'.
local function owned(id, owner)
  local job = load(id)
  if job and (owner == '*' or job.owner == owner) then return job end
end

-- A blob is kept for so many seconds more. Those of the object store have handles with 'object:' before the key: the
-- sweep deletes them once they are due in this list.
local function keep_blob(handle, seconds)
  local object = string.match(handle, '^object:(.+)$')
  if object then
    redis.call('ZADD', P .. 'garbage', NOW + seconds, object)
  elseif tonumber(seconds) > 0 then
    redis.call('EXPIRE', handle, seconds)
  else
    redis.call('DEL', handle)
  end
end

local function keep_blobs(handles, seconds)
  for _, handle in ipairs(cjson.decode(handles)) do keep_blob(handle, seconds) end
end

-- a blob that was due for deletion is kept for good again
local function persist_blob(handle)
  local object = string.match(handle, '^object:(.+)$')
  if object then redis.call('ZREM', P .. 'garbage', object) else redis.call('PERSIST', handle) end
end

-- back to its subqueue, in its old place
local function requeue(job)
  redis.call('HSET', job_key(job.id), 'state', 'queued', 'token', '', 'holder', '')
  redis.call('ZREM', P .. 'leases', job.id)
  enqueue(job.id, job.model, job.subqueue, job.sort_key, job.cost, job.expires)
  wake_routers()
end

-- the end of a job: the last event is written and the lease released in the same step
local function conclude(job, state, keep, data)
  if job.state == 'queued' then dequeue(job.id, job.model, job.subqueue, job.sort_key, job.cost) end
  redis.call('ZREM', P .. 'leases', job.id)
  redis.call('HSET', job_key(job.id), 'state', state, 'finished', NOW, 'token', '', 'holder', '')
  if state ~= 'dead' then keep_blobs(job.inputs, 0) end
  local _, message = emit(job.id, 'finished', data)
  if job.origin ~= '' then redis.call('PUBLISH', P .. 'n:' .. job.origin, message) end
  redis.call('EXPIRE', job_key(job.id), keep)
  redis.call('EXPIRE', P .. 'ev:' .. job.id, keep)
end

-- a lease was lost: once more, or dead
local function retry_or_bury(job, problem, keep)
  if tonumber(job.attempts) >= tonumber(job.max_attempts) then
    redis.call('HSET', job_key(job.id), 'error', problem)
    redis.call('ZADD', P .. 'dead', NOW, job.id)
    keep_blobs(job.inputs, keep)
    conclude(job, 'dead', keep, '{"state":"dead","error":' .. problem .. '}')
    return 'dead'
  end
  requeue(job)
  emit(job.id, 'retrying', '{"attempt":' .. job.attempts .. ',"error":' .. problem .. '}')
  return 'queued'
end
