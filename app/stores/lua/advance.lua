-- Goes on to the next part of the journal, if nobody did.
-- KEYS: the drain's position; ARGV: the part that is done
if tonumber(redis.call('HGET', KEYS[1], 'part') or 0) ~= tonumber(ARGV[1]) then
  return 0
end
redis.call('HSET', KEYS[1], 'part', tonumber(ARGV[1]) + 1)
redis.call('HDEL', KEYS[1], 'day')
return 1
