-- Writes the arm on a leased job, so that a retry goes to the same version, and tells whoever waits.
-- 3 id, 4 token, 5 version
local job = load(ARGV[3])
if not job or job.state ~= 'running' or job.token ~= ARGV[4] then return 0 end
redis.call('HSET', jobkey(job.id), 'version', ARGV[5], 'lane', ARGV[5])
emit(job.id, 'started', '{"version":"' .. ARGV[5] .. '","attempt":' .. job.attempts .. '}', job.origin)
return 1
