-- A version is gone: its waiting jobs are undecided again; those pinned to it fail, or wait on.
-- 3 model, 4 version, 5 at most, 6 problem (JSON) for the pinned ('': they wait), 7 seconds to keep; returns how many
-- moved
local model, version = ARGV[3], ARGV[4]
local moved = 0
for _, okey in ipairs(redis.call('ZRANGE', lanekey(model, version), 0, ARGV[5] - 1)) do
  local job = load(string.match(okey, '|(.*)$'))
  if job.pin == '' then
    redis.call('HSET', jobkey(job.id), 'lane', '', 'version', '')
    redis.call('ZADD', lanekey(model, ''), 0, okey)
    redis.call('ZREM', lanekey(model, version), okey)
    moved = moved + 1
  elseif ARGV[6] ~= '' then
    redis.call('HSET', jobkey(job.id), 'error', ARGV[6])
    conclude(job, 'failed', ARGV[7], '{"state":"failed","error":' .. ARGV[6] .. '}')
    moved = moved + 1
  end
end
if redis.call('ZCARD', lanekey(model, version)) == 0 then redis.call('SREM', laneskey(model), version) end
if moved > 0 then ring() end
return moved
