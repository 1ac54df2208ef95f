-- Stores a key's record and its place in the order of ids, and journals it: all or nothing.
-- KEYS: hash of records, sorted set of ids, the project's journal
-- ARGV: 1 key id, 2 record, 3 the change's id, 4 its details
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  return 0
end
redis.call('ZCARD', KEYS[2])
redis.call('XLEN', KEYS[3])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
redis.call('XADD', KEYS[3], '*', 'change', ARGV[3], 'of', '0|0||' .. ARGV[4])
return 1
