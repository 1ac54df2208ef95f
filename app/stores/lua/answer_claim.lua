-- Makes the caller the one who answers a request, unless somebody is or has.
-- KEYS: the record
-- ARGV: 1 fingerprint of the body, 2 owner, which is its hold's id, 3 day, 4 lease in ms, 5 how long a record is kept, in ms
-- Answers {claimed, day, ids of holds of lost attempts…}, {answered, day}, {busy} or {conflict}.
-- An attempt's hold stays in the record until it is known to be undone, however many attempts that takes.
local stored = redis.call('HMGET', KEYS[1], 'fingerprint', 'answered', 'until_ms', 'day', 'owner', 'lost')
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if stored[1] and stored[1] ~= ARGV[1] then
  return {'conflict', ''}
end
if stored[2] then
  return {'answered', stored[4]}
end
if stored[3] and now_ms < tonumber(stored[3]) and stored[5] ~= ARGV[2] then
  return {'busy', ''}
end
local lost = stored[6] or ''
if stored[5] and stored[5] ~= '' and stored[5] ~= ARGV[2] then
  lost = lost .. stored[5] .. ' '
end
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'owner', ARGV[2], 'day', ARGV[3],
  'until_ms', now_ms + tonumber(ARGV[4]), 'lost', lost)
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[5]))
local reply = {'claimed', ARGV[3]}
for hold_id in string.gmatch(lost, '%S+') do
  reply[#reply + 1] = hold_id
end
return reply
