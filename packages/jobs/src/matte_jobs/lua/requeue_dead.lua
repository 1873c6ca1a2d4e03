-- A dead job again, as if it came now.  3 id, 4 expires; returns 0 if it is not dead, -1 if there is none
local job = load(ARGV[3])
if not job then return -1 end
if job.state ~= 'dead' then return 0 end
redis.call('ZREM', P .. 'dead', job.id)
redis.call('PERSIST', job_key(job.id))
redis.call('PERSIST', P .. 'ev:' .. job.id)
for _, handle in ipairs(cjson.decode(job.inputs)) do persist_blob(handle) end
redis.call('HDEL', job_key(job.id), 'error', 'finished', 'fell')
local seq = redis.call('INCR', P .. 'seq')
job.sort_key = string.sub(job.sort_key, 1, 16) .. string.format('%015.0f', seq) .. '|' .. job.id
job.expires, job.subqueue = ARGV[4], job.pin
redis.call('HSET', job_key(job.id), 'attempts', 0, 'sort_key', job.sort_key, 'expires', ARGV[4], 'subqueue', job.pin,
  'version', job.pin)
requeue(job)
emit(job.id, 'queued', '{"position":' .. position(job.model, job.sort_key) .. ',"queue_length":' .. length(job.model) .. '}')
return 1
