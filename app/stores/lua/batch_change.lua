-- Puts a batch into its next state and journals why, if nobody else did since it was read.
-- KEYS: hash of states, hash of versions, the batch's journal
-- ARGV: 1 batch id, 2 version that was read, 3 next state, 4 event
local version = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
if version ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('XLEN', KEYS[3])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[1], version + 1)
redis.call('XADD', KEYS[3], '*', 'event', ARGV[4])
return 1
