-- Lets ended holds be forgotten as soon as any ended hold may be.
-- KEYS: holds, deadlines
-- ARGV: 1 how long they are still remembered, in ms, then hold ids
local call = redis.call
local time = call('TIME')
local until_ms = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1])
for i = 2, #ARGV do
  local record = call('HGET', KEYS[1], ARGV[i])
  if record and string.sub(record, 1, 1) ~= 'o' then
    call('ZADD', KEYS[2], 'XX', until_ms, ARGV[i])
  end
end
return #ARGV - 1
