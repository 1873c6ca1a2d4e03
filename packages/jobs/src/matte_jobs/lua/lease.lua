-- Takes up to n jobs of a model in the queue's order, from the unassigned subqueue and the subqueues of the named versions.
-- A job that has its version, or gets the only one that is open, is started in the same step.
-- 3 model, 4 holder, 5 until, 6 n, 7 the unassigned subqueue: '0' closed, '1' open, 8 the version that all of it goes to
-- ('': the caller chooses), then pairs of version and free slots
local model, n, only_version = ARGV[3], tonumber(ARGV[6]), ARGV[8]
local open = {}
for i = 9, #ARGV, 2 do open[ARGV[i]] = tonumber(ARGV[i + 1]) end
if ARGV[7] == '1' and only_version == '' then open[''] = n end
-- subqueues that are open, and whose slots each of them takes
local slots = {}
for version in pairs(open) do slots[version] = version end
if ARGV[7] == '1' and open[only_version] then slots[''] = only_version end
local taken = {}
while #taken < n do
  local best, from
  for subqueue, version in pairs(slots) do
    if open[version] > 0 then
      local head = redis.call('ZRANGE', subqueue_key(model, subqueue), 0, 0)[1]
      if head and (not best or head < best) then best, from = head, subqueue end
    end
  end
  if not best then break end
  open[slots[from]] = open[slots[from]] - 1
  local id = string.match(best, '|(.*)$')
  local priority, tag = string.sub(best, 1, 1), tonumber(string.sub(best, 2, 16))
  local record = redis.call('HMGET', job_key(id), 'spec', 'cost')
  local fair = fair_key(model)
  local virtual = tonumber(redis.call('HGET', fair, 'v:' .. priority) or '0')
  if tag > virtual then redis.call('HSET', fair, 'v:' .. priority, string.format('%.0f', tag)) end
  dequeue(id, model, from, best, record[2])
  local attempts = redis.call('HINCRBY', job_key(id), 'attempts', 1)
  local token = ARGV[4] .. ':' .. redis.call('INCR', P .. 'token')
  redis.call('HSET', job_key(id), 'state', 'running', 'token', token, 'holder', ARGV[4], 'started', NOW)
  redis.call('ZADD', P .. 'leases', ARGV[5], id)
  if slots[from] ~= '' then start(id, slots[from], attempts) end
  taken[#taken + 1] = { id, token, attempts, record[1], slots[from] }
end
return taken
