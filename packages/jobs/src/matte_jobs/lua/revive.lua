-- A dead job again, as if it came now.  3 id, 4 expires; returns 0 if it is not dead, -1 if there is none
local job = load(ARGV[3])
if not job then return -1 end
if job.state ~= 'dead' then return 0 end
redis.call('ZREM', P .. 'dead', job.id)
redis.call('PERSIST', jobkey(job.id))
redis.call('PERSIST', P .. 'ev:' .. job.id)
for _, handle in ipairs(cjson.decode(job.inputs)) do persist_blob(handle) end
redis.call('HDEL', jobkey(job.id), 'error', 'finished', 'fell')
local seq = redis.call('INCR', P .. 'seq')
job.okey = string.sub(job.okey, 1, 16) .. string.format('%015.0f', seq) .. '|' .. job.id
job.expires, job.lane = ARGV[4], job.pin
redis.call('HSET', jobkey(job.id), 'attempts', 0, 'okey', job.okey, 'expires', ARGV[4], 'lane', job.pin,
  'version', job.pin)
requeue(job)
emit(job.id, 'queued', '{"position":' .. position(job.model, job.okey) .. ',"queue_length":' .. length(job.model) .. '}')
return 1
