-- tokens: a JSON object of tokens by job id; returns the ids whose lease is no longer the caller's
local expires_at, tokens = unpack(ARGV, 3)
local lost = {}
for job_id, token in pairs(cjson.decode(tokens)) do
  if load_leased_job(job_id, token) then
    redis.call('ZADD', leases_key(), 'XX', expires_at, job_id)
  else
    lost[#lost + 1] = job_id
  end
end
return lost
