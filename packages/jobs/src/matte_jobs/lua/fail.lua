-- The job's own fault: final.  3 id, 4 token ('' for a job that is still queued), 5 problem (JSON), 6 seconds to keep
local job = load(ARGV[3])
if not job then return 0 end
local mine = job.state == 'running' and job.token == ARGV[4]
if not mine and not (job.state == 'queued' and ARGV[4] == '') then return 0 end
redis.call('HSET', job_key(job.id), 'error', ARGV[5])
conclude(job, 'failed', ARGV[6], '{"state":"failed","error":' .. ARGV[5] .. '}')
return 1
