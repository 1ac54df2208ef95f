-- Takes a chunk out of a batch's queue, if it is still its worker's.
-- KEYS: the queue
-- ARGV: 1 the workers' group, 2 the worker, 3 entry id
if redis.call('EXISTS', KEYS[1]) == 0 or #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2]) == 0 then
  return 0
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
redis.call('XDEL', KEYS[1], ARGV[3])
return 1
