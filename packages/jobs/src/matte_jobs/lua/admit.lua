-- One step: record, queue entry, first event. The blobs were set just before, in the same transaction.
-- tag_increment: cost / share in thousandths; inputs: handles of the blobs as JSON
-- returns 'ok', id, position and queue length, or 'existing' and the id, or 'reused', or 'full', length and cost
local job_id, spec, model, pin, tenant, priority, tag_increment, megapixels, expires_at, max_attempts, origin,
  idempotency_digest, fingerprint, idempotency_ttl_seconds, max_queue_length, inputs, owner = unpack(ARGV, 3)
local function refuse(...)
  expire_blobs(inputs, 0)
  return { ... }
end

local known = load_job(job_id)
if known then
  if known.state == 'queued' or known.state == 'running' or known.state == 'dead' then return { 'existing', job_id } end
  return refuse('existing', job_id)
end
if idempotency_digest ~= '' then
  local entry = redis.call('GET', idempotency_key(idempotency_digest))
  if entry then
    local earlier_id, earlier_fingerprint = string.match(entry, '^(%S+) (%S*)$')
    if redis.call('EXISTS', job_key(earlier_id)) == 1 then
      if earlier_fingerprint ~= fingerprint then return refuse('reused') end
      return refuse('existing', earlier_id)
    end
  end
end
local length = queue_length(model)
if length >= tonumber(max_queue_length) then return refuse('full', length, queue_cost(model)) end

local fair, finish_field = fair_key(model), 'f:' .. priority .. ':' .. tenant
local virtual_time = tonumber(redis.call('HGET', fair, 'v:' .. priority) or '0')
local finish_tag = tonumber(redis.call('HGET', fair, finish_field) or '0')
local tag = math.max(virtual_time, finish_tag)
redis.call('HSET', fair, finish_field, string.format('%.0f', tag + tonumber(tag_increment)))
local sequence = redis.call('INCR', job_sequence_key())
local sort_key = string.format('%s%015.0f%015.0f|%s', priority, tag, sequence, job_id)

redis.call('HSET', job_key(job_id), 'spec', spec, 'state', 'queued', 'model', model, 'pin', pin, 'subqueue', pin,
  'sort_key', sort_key, 'cost', megapixels, 'expires_at', expires_at, 'max_attempts', max_attempts, 'origin', origin,
  'attempts', 0, 'created', NOW, 'inputs', inputs, 'version', pin, 'owner', owner)
enqueue({ id = job_id, model = model, subqueue = pin, sort_key = sort_key, cost = megapixels, expires_at = expires_at })
if idempotency_digest ~= '' then
  redis.call('SET', idempotency_key(idempotency_digest), job_id .. ' ' .. fingerprint, 'EX', idempotency_ttl_seconds)
end
local position = queue_position(model, sort_key)
emit_event(job_id, 'queued', '{"position":' .. position .. ',"queue_length":' .. (length + 1) .. '}')
wake_routers()
return { 'ok', job_id, position, length + 1 }
