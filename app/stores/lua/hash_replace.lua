-- Replaces one field of a hash if it still holds what the caller read, and journals the change.
-- KEYS: the hash, the project's journal, the project's account
-- ARGV: 1 field, 2 value expected ('' for absent), 3 new value, 4 the change's id, 5 its details,
--   6 the account's delinquent flag ('' to leave it)
-- Answers 1 when replaced, 0 when somebody else was first.
local current = redis.call('HGET', KEYS[1], ARGV[1])
if (current or '') ~= ARGV[2] then
  return 0
end
redis.call('XLEN', KEYS[2])
redis.call('HLEN', KEYS[3])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[3], 'delinquent', ARGV[6])
end
redis.call('XADD', KEYS[2], '*', 'change', ARGV[4], 'of', '0|0||' .. ARGV[5])
return 1
