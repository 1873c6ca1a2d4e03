-- Queues a dead job again, as if it came now.  returns 0 if it is not dead, -1 if there is none
local job_id, expires_at = unpack(ARGV, 3)
local job = load_job(job_id)
if not job then return -1 end
if job.state ~= 'dead' then return 0 end
redis.call('ZREM', dead_key(), job_id)
redis.call('PERSIST', job_key(job_id))
redis.call('PERSIST', events_key(job_id))
for _, handle in ipairs(cjson.decode(job.inputs)) do
  local object = string.match(handle, '^object:(.+)$')
  if object then redis.call('ZREM', garbage_key(), object) else redis.call('PERSIST', handle) end
end
redis.call('HDEL', job_key(job_id), 'error', 'finished', 'fell_back_to')
local sequence = redis.call('INCR', job_sequence_key())
job.sort_key = string.sub(job.sort_key, 1, 16) .. string.format('%015.0f', sequence) .. '|' .. job_id
job.expires_at, job.subqueue = expires_at, job.pin
redis.call('HSET', job_key(job_id), 'attempts', 0, 'sort_key', job.sort_key, 'expires_at', expires_at,
  'subqueue', job.pin, 'version', job.pin)
requeue(job)
local position, length = queue_position(job.model, job.sort_key), queue_length(job.model)
emit_event(job_id, 'queued', '{"position":' .. position .. ',"queue_length":' .. length .. '}')
return 1
