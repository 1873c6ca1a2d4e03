-- A version takes no jobs: those that wait for it are unassigned again; those pinned to it fail with `problem`, or wait
-- on where it is ''.  returns how many of the first `limit` moved or failed
local model, version, limit, problem, result_ttl_seconds = unpack(ARGV, 3)
local moved = 0
for _, sort_key in ipairs(redis.call('ZRANGE', subqueue_key(model, version), 0, limit - 1)) do
  local job = load_job(job_id_of(sort_key))
  if job.pin == '' then
    redis.call('HSET', job_key(job.id), 'subqueue', '', 'version', '')
    redis.call('ZADD', subqueue_key(model, ''), 0, sort_key)
    redis.call('ZREM', subqueue_key(model, version), sort_key)
    moved = moved + 1
  elseif problem ~= '' then
    fail(job, problem, result_ttl_seconds)
    moved = moved + 1
  end
end
delete_empty_subqueue(model, version)
if moved > 0 then wake_routers() end
return moved
