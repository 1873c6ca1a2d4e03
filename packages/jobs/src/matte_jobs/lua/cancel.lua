-- Ends a job. Whoever runs it hears of it at once, and has a free slot.
-- returns 1, or 0 if it had ended, or -1 if there is none
local job_id, owner, result_ttl_seconds = unpack(ARGV, 3)
local job = load_owned_job(job_id, owner)
if not job then return -1 end
if job.state ~= 'queued' and job.state ~= 'running' then return 0 end
conclude(job, 'canceled', result_ttl_seconds, '{"state":"canceled"}')
if job.state == 'running' then redis.call('PUBLISH', wakeup_channel_key(), job_id) end
return 1
