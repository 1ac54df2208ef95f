-- Puts an event off for whoever tells it now, if its time has come and nobody else was first.
-- KEYS: sorted set of events by the millisecond of the next attempt
-- ARGV: 1 event, 2 now, 3 when it comes again
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) > tonumber(ARGV[2]) then
  return 0
end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 1
