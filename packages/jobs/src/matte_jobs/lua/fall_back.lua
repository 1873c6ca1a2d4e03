-- The version that was tried is to blame: another one takes the job, in its old place. Once in a job's life, so that two
-- bad versions never pass it to and fro.
-- returns 0 where the lease is lost, or it happened before
local job_id, token, version, problem = unpack(ARGV, 3)
local job = load_leased_job(job_id, token)
if not job or redis.call('HSETNX', job_key(job_id), 'fell_back_to', version) == 0 then return 0 end
reassign(job, version)
emit_event(job_id, 'retrying', '{"attempt":' .. job.attempts .. ',"error":' .. problem .. '}')
return 1
