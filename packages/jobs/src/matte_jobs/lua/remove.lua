-- Deletes a job that has ended, and everything of it.  returns the keys of the object store to delete
local job_id, owner = unpack(ARGV, 3)
local job = load_owned_job(job_id, owner)
if not job or job.state == 'queued' or job.state == 'running' then return {} end
local handles = cjson.decode(job.inputs)
local result = redis.call('HGET', job_key(job_id), 'result')
for _, ref in pairs(result and cjson.decode(result).files or {}) do
  handles[#handles + 1] = (ref.store == 'object' and 'object:' or '') .. ref.key
end
local objects = {}
for _, handle in ipairs(handles) do
  expire_blob(handle, 0)
  objects[#objects + 1] = string.match(handle, '^object:(.+)$')
end
redis.call('ZREM', dead_key(), job_id)
redis.call('DEL', job_key(job_id), events_key(job_id), mask_key(job_id))
return objects
