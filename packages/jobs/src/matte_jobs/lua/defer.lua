-- The job's arm has no free slot: it waits in that version's subqueue, in its old place; no attempt was made.
-- 3 id, 4 token, 5 version ('' to leave it unassigned)
local job = load(ARGV[3])
if not job or job.state ~= 'running' or job.token ~= ARGV[4] then return 0 end
redis.call('HINCRBY', job_key(job.id), 'attempts', -1)
redis.call('HSET', job_key(job.id), 'version', ARGV[5], 'subqueue', ARGV[5])
job.subqueue = ARGV[5]
requeue(job)
return 1
