-- Leases that ran out are released, jobs that waited too long expire.
-- returns how many were requeued, are dead and expired, when the next is due ('' if nothing is), and the keys of the
-- object store to delete
local limit, problem, dead_ttl_seconds, result_ttl_seconds = unpack(ARGV, 3)
local counts = { queued = 0, dead = 0, expired = 0 }
for _, job_id in ipairs(redis.call('ZRANGEBYSCORE', leases_key(), '-inf', NOW, 'LIMIT', 0, limit)) do
  local job = load_job(job_id)
  if job and job.state == 'running' then
    local state = retry_or_bury(job, problem, dead_ttl_seconds)
    counts[state] = counts[state] + 1
  else
    redis.call('ZREM', leases_key(), job_id)
  end
end
for _, job_id in ipairs(redis.call('ZRANGEBYSCORE', deadlines_key(), '-inf', NOW, 'LIMIT', 0, limit)) do
  local job = load_job(job_id)
  if job and job.state == 'queued' then
    conclude(job, 'expired', result_ttl_seconds, '{"state":"expired"}')
    counts.expired = counts.expired + 1
  else
    redis.call('ZREM', deadlines_key(), job_id)
  end
end
local next_due = ''
for _, key in ipairs({ leases_key(), deadlines_key() }) do
  local due = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  if due and (next_due == '' or tonumber(due) < tonumber(next_due)) then next_due = due end
end
local garbage = redis.call('ZRANGEBYSCORE', garbage_key(), '-inf', NOW, 'LIMIT', 0, limit)
return { counts.queued, counts.dead, counts.expired, next_due, garbage }
