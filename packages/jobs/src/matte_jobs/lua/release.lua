-- The holder could not finish: the job is queued again, or after its last attempt a dead letter.
local job_id, token, problem, dead_ttl_seconds = unpack(ARGV, 3)
local job = load_leased_job(job_id, token)
if not job then return 'lost' end
return retry_or_bury(job, problem, dead_ttl_seconds)
