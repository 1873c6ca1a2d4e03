-- Leases that ran out go back, jobs that waited too long expire.
-- 3 at most, 4 problem (JSON) for a lost lease, 5 seconds a dead job is kept, 6 seconds an expired one is kept
-- returns requeued, dead, expired, when the next is due ('' if nothing is), and keys of the object store to delete
local counts = { queued = 0, dead = 0, expired = 0 }
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', NOW, 'LIMIT', 0, ARGV[3])) do
  local job = load(id)
  if job and job.state == 'running' then
    local to = retry_or_bury(job, ARGV[4], ARGV[5])
    counts[to] = counts[to] + 1
  else
    redis.call('ZREM', P .. 'leases', id)
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'deadlines', '-inf', NOW, 'LIMIT', 0, ARGV[3])) do
  local job = load(id)
  if job and job.state == 'queued' then
    conclude(job, 'expired', ARGV[6], '{"state":"expired"}')
    counts.expired = counts.expired + 1
  else
    redis.call('ZREM', P .. 'deadlines', id)
  end
end
local due = ''
for _, key in ipairs({ 'leases', 'deadlines' }) do
  local head = redis.call('ZRANGE', P .. key, 0, 0, 'WITHSCORES')
  if head[2] and (due == '' or tonumber(head[2]) < tonumber(due)) then due = head[2] end
end
return { counts.queued, counts.dead, counts.expired, due,
  redis.call('ZRANGEBYSCORE', P .. 'garbage', '-inf', NOW, 'LIMIT', 0, ARGV[3]) }
