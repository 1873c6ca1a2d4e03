-- Everything that an instance ran has ended, and it starts anew: its jobs are queued again at once, its replicas and
-- routers are forgotten. name_prefix: what their names begin with
-- returns how many jobs are queued again
local name_prefix, pool, problem, dead_ttl_seconds = unpack(ARGV, 3)
local function is_member(name) return string.sub(name, 1, #name_prefix) == name_prefix end
local count = 0
for _, job_id in ipairs(redis.call('ZRANGE', leases_key(), 0, -1)) do
  local job = load_job(job_id)
  if job and job.state == 'running' and is_member(job.token) then
    retry_or_bury(job, problem, dead_ttl_seconds)
    count = count + 1
  end
end
for _, replica in ipairs(redis.call('HKEYS', replicas_key())) do
  if is_member(replica) then redis.call('HDEL', replicas_key(), replica) end
end
for _, router in ipairs(redis.call('ZRANGE', routers_key(pool), 0, -1)) do
  if is_member(router) then redis.call('ZREM', routers_key(pool), router) end
end
return count
