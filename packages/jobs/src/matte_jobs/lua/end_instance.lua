-- Everything that an instance ran has ended, and it starts anew: its jobs go back at once, its replicas and routers are
-- forgotten.  3 what the names of its replicas and routers begin with, 4 pool, 5 problem (JSON), 6 seconds a dead job is
-- kept; returns how many jobs went back
local function ours(name) return string.sub(name, 1, #ARGV[3]) == ARGV[3] end
local count = 0
for _, id in ipairs(redis.call('ZRANGE', P .. 'leases', 0, -1)) do
  local job = load(id)
  if job and job.state == 'running' and ours(job.token) then
    retry_or_bury(job, ARGV[5], ARGV[6])
    count = count + 1
  end
end
for _, id in ipairs(redis.call('HKEYS', P .. 'replicas')) do
  if ours(id) then redis.call('HDEL', P .. 'replicas', id) end
end
for _, name in ipairs(redis.call('ZRANGE', P .. 'routers:' .. ARGV[4], 0, -1)) do
  if ours(name) then redis.call('ZREM', P .. 'routers:' .. ARGV[4], name) end
end
return count
