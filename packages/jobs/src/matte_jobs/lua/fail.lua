-- The job's own fault: final. token: '' for a job that is still queued
local job_id, token, problem, result_ttl_seconds = unpack(ARGV, 3)
local job = load_job(job_id)
if not job then return 0 end
local leased = job.state == 'running' and job.token == token
if not leased and not (job.state == 'queued' and token == '') then return 0 end
fail(job, problem, result_ttl_seconds)
return 1
