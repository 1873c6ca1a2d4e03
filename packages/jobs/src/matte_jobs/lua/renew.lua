-- 3 until, then pairs of id and token; returns the ids whose lease is no longer the caller's
local lost = {}
for i = 4, #ARGV, 2 do
  local state = redis.call('HMGET', job_key(ARGV[i]), 'state', 'token')
  if state[1] == 'running' and state[2] == ARGV[i + 1] then
    redis.call('ZADD', P .. 'leases', 'XX', ARGV[3], ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
