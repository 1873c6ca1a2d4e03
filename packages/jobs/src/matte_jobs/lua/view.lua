-- 3 id, 4 owner; returns every field, then position and queue length (position -1 once it left the queue)
local job = owned(ARGV[3], ARGV[4])
if not job then return {} end
local fields = redis.call('HGETALL', jobkey(job.id))
local ahead = -1
if job.state == 'queued' then ahead = position(job.model, job.okey) end
local stats = ''
if job.version ~= '' then stats = redis.call('HGET', P .. 'stats:' .. job.model .. '@' .. job.version, 'spmp') or '' end
return { fields, ahead, length(job.model), redis.call('HGET', fairkey(job.model), 'cost') or '0', stats }
