-- Makes the caller the one who answers a request, unless somebody is or has.
-- KEYS: the record
-- ARGV: 1 fingerprint of the body, 2 owner, 3 its hold's id, 4 day, 5 lease in ms, 6 how long a record is kept, in ms
-- Answers {claimed, day, hold id of the attempt taken over}, {answered, day}, {busy} or {conflict}.
local stored = redis.call('HMGET', KEYS[1], 'fingerprint', 'answered', 'until_ms', 'day', 'hold')
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if stored[1] and stored[1] ~= ARGV[1] then
  return {'conflict', '', ''}
end
if stored[2] then
  return {'answered', stored[4], ''}
end
if stored[3] and now_ms < tonumber(stored[3]) then
  return {'busy', '', ''}
end
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'owner', ARGV[2], 'hold', ARGV[3], 'day', ARGV[4],
  'until_ms', now_ms + tonumber(ARGV[5]))
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[6]))
return {'claimed', ARGV[4], stored[5] or ''}
