-- An event on the way. None once the lease is lost: the last event stays the last.
local job_id, token, type, data = unpack(ARGV, 3)
if not load_leased_job(job_id, token) then return 0 end
emit_event(job_id, type, data)
return 1
