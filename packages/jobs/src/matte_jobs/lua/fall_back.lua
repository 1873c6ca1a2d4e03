-- The version that was tried is to blame: another one takes the job, in its old place, and no attempt was made. Once in
-- a job's life, so that two bad versions never pass it to and fro.
-- 3 id, 4 token, 5 version, 6 problem (JSON); returns 0 where the lease is lost, or it happened before
local job = load(ARGV[3])
if not job or job.state ~= 'running' or job.token ~= ARGV[4] then return 0 end
if redis.call('HSETNX', job_key(job.id), 'fell', ARGV[5]) == 0 then return 0 end
redis.call('HINCRBY', job_key(job.id), 'attempts', -1)
redis.call('HSET', job_key(job.id), 'version', ARGV[5], 'subqueue', ARGV[5])
job.subqueue = ARGV[5]
requeue(job)
emit(job.id, 'retrying', '{"attempt":' .. job.attempts .. ',"error":' .. ARGV[6] .. '}')
return 1
