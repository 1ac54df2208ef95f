-- Takes a file's record, its place and its part of the totals away; 0 when there was none.
-- KEYS: hash of records, sorted set of ids, hash of totals
-- ARGV: 1 file id
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then
  return 0
end
local bytes = cjson.decode(record)['size_bytes']
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[3], 'files', -1)
redis.call('HINCRBY', KEYS[3], 'bytes', -bytes)
return 1
