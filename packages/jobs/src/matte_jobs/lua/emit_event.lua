-- Something small on the way, for whoever follows. Nothing once the lease is lost: the last event stays the last.
-- 3 id, 4 token, 5 event type, 6 data (JSON)
local job = load(ARGV[3])
if not job or job.state ~= 'running' or job.token ~= ARGV[4] then return 0 end
emit(job.id, ARGV[5], ARGV[6])
return 1
