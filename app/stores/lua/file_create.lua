-- Stores a file's record, its place in the order of ids and its part of the totals: all or nothing.
-- KEYS: hash of records, sorted set of ids, hash of totals
-- ARGV: 1 file id, 2 record, 3 bytes, 4 most files, 5 most bytes
local totals = redis.call('HMGET', KEYS[3], 'files', 'bytes')
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  return 'exists'
end
redis.call('ZCARD', KEYS[2])
if tonumber(totals[1] or '0') + 1 > tonumber(ARGV[4]) then
  return 'files'
end
if tonumber(totals[2] or '0') + tonumber(ARGV[3]) > tonumber(ARGV[5]) then
  return 'bytes'
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
redis.call('HINCRBY', KEYS[3], 'files', 1)
redis.call('HINCRBY', KEYS[3], 'bytes', ARGV[3])
return 'created'
