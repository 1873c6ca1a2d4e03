-- One step: record, queue entry, first event. The blobs were set just before, in the same transaction.
-- 3 id, 4 spec, 5 model, 6 pin, 7 tenant, 8 priority, 9 cost/share in thousandths, 10 megapixels, 11 expires,
-- 12 max attempts, 13 origin, 14 idempotency key, 15 fingerprint, 16 idempotency ttl, 17 longest queue,
-- 18 handles of the inputs as JSON, 19 owner
local id, model, pin, priority = ARGV[3], ARGV[5], ARGV[6], ARGV[8]
local idem, fingerprint = ARGV[14], ARGV[15]
local function refuse(...)
  keep_blobs(ARGV[18], 0)
  return { ... }
end
local before = load(id)
if before then
  if before.state == 'queued' or before.state == 'running' or before.state == 'dead' then return { 'existing', id } end
  return refuse('existing', id)
end
if idem ~= '' then
  local held = redis.call('GET', P .. 'idem:' .. idem)
  if held then
    local old, print = string.match(held, '^(%S+) (%S*)$')
    if redis.call('EXISTS', job_key(old)) == 1 then
      if print ~= fingerprint then return refuse('reused') end
      return refuse('existing', old)
    end
  end
end
local queued = length(model)
if queued >= tonumber(ARGV[17]) then return refuse('full', queued, redis.call('HGET', fair_key(model), 'cost') or '0') end

local fair = fair_key(model)
local virtual = tonumber(redis.call('HGET', fair, 'v:' .. priority) or '0')
local last = tonumber(redis.call('HGET', fair, 'f:' .. priority .. ':' .. ARGV[7]) or '0')
local tag = math.max(virtual, last)
local seq = redis.call('INCR', P .. 'seq')
local sort_key = string.format('%s%015.0f%015.0f|%s', priority, tag, seq, id)

redis.call('HSET', job_key(id), 'spec', ARGV[4], 'state', 'queued', 'model', model, 'pin', pin, 'subqueue', pin,
  'sort_key', sort_key, 'cost', ARGV[10], 'expires', ARGV[11], 'max_attempts', ARGV[12], 'origin', ARGV[13],
  'attempts', 0, 'created', NOW, 'inputs', ARGV[18], 'version', pin, 'owner', ARGV[19])
redis.call('HSET', fair, 'f:' .. priority .. ':' .. ARGV[7], string.format('%.0f', tag + tonumber(ARGV[9])))
enqueue(id, model, pin, sort_key, ARGV[10], ARGV[11])
if idem ~= '' then redis.call('SET', P .. 'idem:' .. idem, id .. ' ' .. fingerprint, 'EX', ARGV[16]) end
local ahead = position(model, sort_key)
emit(id, 'queued', '{"position":' .. ahead .. ',"queue_length":' .. (queued + 1) .. '}')
wake_routers()
return { 'ok', id, ahead, queued + 1 }
