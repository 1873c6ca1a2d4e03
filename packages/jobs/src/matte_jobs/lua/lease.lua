-- Takes up to n jobs of a model in the queue's order, from the undecided lane and the lanes of the named versions.
-- A job that has its version, or gets the only one that is open, is started in the same step.
-- 3 model, 4 holder, 5 until, 6 n, 7 the undecided lane: '0' closed, '1' open, 8 the version that all of it goes to
-- ('': the caller chooses), then pairs of version and free slots
local model, n, sole = ARGV[3], tonumber(ARGV[6]), ARGV[8]
local open = {}
for i = 9, #ARGV, 2 do open[ARGV[i]] = tonumber(ARGV[i + 1]) end
if ARGV[7] == '1' and sole == '' then open[''] = n end
-- lanes that are open, and whose slots each of them takes
local slots = {}
for version in pairs(open) do slots[version] = version end
if ARGV[7] == '1' and open[sole] then slots[''] = sole end
local taken = {}
while #taken < n do
  local best, from
  for lane, version in pairs(slots) do
    if open[version] > 0 then
      local head = redis.call('ZRANGE', lanekey(model, lane), 0, 0)[1]
      if head and (not best or head < best) then best, from = head, lane end
    end
  end
  if not best then break end
  open[slots[from]] = open[slots[from]] - 1
  local id = string.match(best, '|(.*)$')
  local priority, tag = string.sub(best, 1, 1), tonumber(string.sub(best, 2, 16))
  local record = redis.call('HMGET', jobkey(id), 'spec', 'cost')
  local fair = fairkey(model)
  local virtual = tonumber(redis.call('HGET', fair, 'v:' .. priority) or '0')
  if tag > virtual then redis.call('HSET', fair, 'v:' .. priority, string.format('%.0f', tag)) end
  leave(id, model, from, best, record[2])
  local attempts = redis.call('HINCRBY', jobkey(id), 'attempts', 1)
  local token = ARGV[4] .. ':' .. redis.call('INCR', P .. 'token')
  redis.call('HSET', jobkey(id), 'state', 'running', 'token', token, 'holder', ARGV[4], 'started', NOW)
  redis.call('ZADD', P .. 'leases', ARGV[5], id)
  if slots[from] ~= '' then start(id, slots[from], attempts) end
  taken[#taken + 1] = { id, token, attempts, record[1], slots[from] }
end
return taken
