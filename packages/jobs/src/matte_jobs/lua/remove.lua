-- A job that has ended, and everything of it.  3 id, 4 owner; returns the keys of the object store to delete
local job = owned(ARGV[3], ARGV[4])
if not job or job.state == 'queued' or job.state == 'running' then return {} end
local handles = cjson.decode(job.inputs)
local result = redis.call('HGET', job_key(job.id), 'result')
for _, ref in pairs(result and cjson.decode(result).files or {}) do
  handles[#handles + 1] = (ref.store == 'object' and 'object:' or '') .. ref.key
end
local objects = {}
for _, handle in ipairs(handles) do
  keep_blob(handle, 0)
  objects[#objects + 1] = string.match(handle, '^object:(.+)$')
end
redis.call('ZREM', P .. 'dead', job.id)
redis.call('DEL', job_key(job.id), P .. 'ev:' .. job.id, P .. 'rollout:mask:' .. job.id)
return objects
