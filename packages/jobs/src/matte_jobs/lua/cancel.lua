-- 3 id, 4 seconds to keep; returns the state after
local job = load(ARGV[3])
if not job then return '' end
if job.state ~= 'queued' and job.state ~= 'running' then return job.state end
conclude(job, 'cancelled', ARGV[4], '{"state":"cancelled"}')
return 'cancelled'
