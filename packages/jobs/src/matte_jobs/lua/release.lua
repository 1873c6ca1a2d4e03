-- The holder could not finish: once more, or dead after the last attempt.
-- 3 id, 4 token, 5 problem (JSON), 6 seconds a dead job is kept
local job = load(ARGV[3])
if not job or job.state ~= 'running' or job.token ~= ARGV[4] then return 'lost' end
return retry_or_bury(job, ARGV[5], ARGV[6])
