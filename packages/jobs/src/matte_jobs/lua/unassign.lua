-- A version is gone: its waiting jobs are unassigned again; those pinned to it fail, or wait on.
-- 3 model, 4 version, 5 at most, 6 problem (JSON) for the pinned ('': they wait), 7 seconds to keep; returns how many
-- moved
local model, version = ARGV[3], ARGV[4]
local moved = 0
for _, sort_key in ipairs(redis.call('ZRANGE', subqueue_key(model, version), 0, ARGV[5] - 1)) do
  local job = load(string.match(sort_key, '|(.*)$'))
  if job.pin == '' then
    redis.call('HSET', job_key(job.id), 'subqueue', '', 'version', '')
    redis.call('ZADD', subqueue_key(model, ''), 0, sort_key)
    redis.call('ZREM', subqueue_key(model, version), sort_key)
    moved = moved + 1
  elseif ARGV[6] ~= '' then
    redis.call('HSET', job_key(job.id), 'error', ARGV[6])
    conclude(job, 'failed', ARGV[7], '{"state":"failed","error":' .. ARGV[6] .. '}')
    moved = moved + 1
  end
end
if redis.call('ZCARD', subqueue_key(model, version)) == 0 then redis.call('SREM', subqueues_key(model), version) end
if moved > 0 then wake_routers() end
return moved
