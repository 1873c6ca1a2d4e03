-- The job's version has no free slot: it waits for one in that version's subqueue, in its old place.
local job_id, token, version = unpack(ARGV, 3)
local job = load_leased_job(job_id, token)
if not job then return 0 end
reassign(job, version)
return 1
