-- Replaces one field of a hash if it still holds what the caller read.
-- KEYS[1] the hash; ARGV[1] field, ARGV[2] value expected ("" for absent), ARGV[3] new value.
-- Answers 1 when replaced, 0 when somebody else was first.
local current = redis.call('HGET', KEYS[1], ARGV[1])
if (current or '') ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
