-- The caller chose a version for a leased job.
local job_id, token, version = unpack(ARGV, 3)
local job = load_leased_job(job_id, token)
if not job then return 0 end
start(job_id, version, job.attempts)
return 1
