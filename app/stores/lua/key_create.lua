-- Stores a key's record and its place in the order of ids, both or neither.
-- KEYS[1] hash of records, KEYS[2] sorted set of ids; ARGV[1] key id, ARGV[2] record.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return 1
