-- Whoever runs the job hears of it at once, and has a free slot.
-- 3 id, 4 owner, 5 seconds to keep; returns 1 if it ends the job, 0 if it had ended, -1 if there is none
local job = owned(ARGV[3], ARGV[4])
if not job then return -1 end
if job.state ~= 'queued' and job.state ~= 'running' then return 0 end
local running = job.state == 'running'
conclude(job, 'canceled', ARGV[5], '{"state":"canceled"}')
if running then redis.call('PUBLISH', P .. 'wakeup', job.id) end
return 1
