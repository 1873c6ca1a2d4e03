-- returns every field, position (-1 once it left the queue), queue length, the queue's cost, and of a queued job version
-- and cost of each of the first `lookahead` jobs before it, and version, cost and moment of the lease of running jobs of
-- its model: of all that run, the `lookahead` whose leases run out first are looked at
local job_id, owner, lookahead = unpack(ARGV, 3)
local job = load_owned_job(job_id, owner)
if not job then return {} end
local fields, position, ahead, running = redis.call('HGETALL', job_key(job_id)), -1, {}, {}
if job.state == 'queued' then
  position = queue_position(job.model, job.sort_key)
  local line = {}
  for _, version in ipairs(subqueues(job.model)) do
    local subqueue, before = subqueue_key(job.model, version), '(' .. job.sort_key
    for _, sort_key in ipairs(redis.call('ZRANGEBYLEX', subqueue, '-', before, 'LIMIT', 0, lookahead)) do
      line[#line + 1] = { sort_key, version }
    end
  end
  table.sort(line, function(a, b) return a[1] < b[1] end)
  for i = 1, math.min(tonumber(lookahead), #line) do
    local sort_key, version = unpack(line[i])
    ahead[i] = { version, redis.call('HGET', job_key(job_id_of(sort_key)), 'cost') }
  end
  for _, running_id in ipairs(redis.call('ZRANGE', leases_key(), 0, lookahead - 1)) do
    local model, version, cost, started =
      unpack(redis.call('HMGET', job_key(running_id), 'model', 'version', 'cost', 'started'))
    if model == job.model then running[#running + 1] = { version, cost, started } end
  end
end
return { fields, position, queue_length(job.model), queue_cost(job.model), ahead, running }
