-- The job's arm has no free slot: it waits in that version's lane, in its old place; no attempt was made.
-- 3 id, 4 token, 5 version ('' to leave it undecided)
local job = load(ARGV[3])
if not job or job.state ~= 'running' or job.token ~= ARGV[4] then return 0 end
redis.call('HINCRBY', jobkey(job.id), 'attempts', -1)
redis.call('HSET', jobkey(job.id), 'version', ARGV[5], 'lane', ARGV[5])
job.lane = ARGV[5]
requeue(job)
return 1
