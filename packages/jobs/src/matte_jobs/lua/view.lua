-- 3 id, 4 owner, 5 how many of the jobs before it to look at
-- returns every field, position (-1 once it left the queue), queue length, the queue's cost, and of a queued job what
-- is ahead and what runs
local job = owned(ARGV[3], ARGV[4])
if not job then return {} end
local fields = redis.call('HGETALL', job_key(job.id))
local place, ahead, running = -1, {}, {}
if job.state == 'queued' then
  place = position(job.model, job.sort_key)
  ahead, running = before(job, tonumber(ARGV[5]))
end
return { fields, place, length(job.model), redis.call('HGET', fair_key(job.model), 'cost') or '0', ahead, running }
