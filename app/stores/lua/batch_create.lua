-- Stores a new batch, its place in the order of ids and the first entry of its journal; nothing when it is there.
-- KEYS: hash of states, hash of versions, sorted set of ids, the batch's journal, set of open ids
-- ARGV: 1 batch id, 2 state, 3 how many may be open, 4 how many are kept, ended ones included
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  return 'exists'
end
if redis.call('SCARD', KEYS[5]) >= tonumber(ARGV[3]) then
  return 'full'
end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  return 'kept'
end
redis.call('ZCARD', KEYS[3])
redis.call('XLEN', KEYS[4])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], 0)
redis.call('ZADD', KEYS[3], 0, ARGV[1])
redis.call('XADD', KEYS[4], '*', 'batch', ARGV[2])
redis.call('SADD', KEYS[5], ARGV[1])
return 'created'
