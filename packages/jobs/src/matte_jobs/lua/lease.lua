-- Takes up to n jobs of a model in the queue's order, from the undecided lane and the lanes of the named versions.
-- 3 model, 4 holder, 5 until, 6 n, 7 whether the undecided lane is open, then pairs of version and free slots
local model, n = ARGV[3], tonumber(ARGV[6])
local open = {}
if ARGV[7] == '1' then open[''] = n end
for i = 8, #ARGV, 2 do open[ARGV[i]] = tonumber(ARGV[i + 1]) end
local taken = {}
while #taken < n do
  local best, from
  for version, free in pairs(open) do
    if free > 0 then
      local head = redis.call('ZRANGE', lanekey(model, version), 0, 0)[1]
      if head and (not best or head < best) then best, from = head, version end
    end
  end
  if not best then break end
  open[from] = open[from] - 1
  local id = string.match(best, '|(.*)$')
  local priority, tag = string.sub(best, 1, 1), tonumber(string.sub(best, 2, 16))
  local record = redis.call('HMGET', jobkey(id), 'spec', 'cost', 'version')
  local fair = fairkey(model)
  local virtual = tonumber(redis.call('HGET', fair, 'v:' .. priority) or '0')
  if tag > virtual then redis.call('HSET', fair, 'v:' .. priority, string.format('%.0f', tag)) end
  leave(id, model, from, best, record[2])
  local attempts = redis.call('HINCRBY', jobkey(id), 'attempts', 1)
  local token = ARGV[4] .. ':' .. redis.call('INCR', P .. 'token')
  redis.call('HSET', jobkey(id), 'state', 'running', 'token', token, 'holder', ARGV[4], 'started', NOW)
  redis.call('ZADD', P .. 'leases', ARGV[5], id)
  taken[#taken + 1] = { id, token, attempts, record[1], record[3] }
end
return taken
