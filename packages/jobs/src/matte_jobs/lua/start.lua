-- The caller chose a version for a leased job.
-- 3 id, 4 token, 5 version
local job = load(ARGV[3])
if not job or job.state ~= 'running' or job.token ~= ARGV[4] then return 0 end
start(job.id, ARGV[5], job.attempts)
return 1
