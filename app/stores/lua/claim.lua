-- Fixes the day of a part of the journal; whoever was first decides.
-- KEYS: the drain's position; ARGV: the part, the day
-- Answers the part's day, or '' when the journal is at another part by now.
if tonumber(redis.call('HGET', KEYS[1], 'part') or 0) ~= tonumber(ARGV[1]) then
  return ''
end
redis.call('HSETNX', KEYS[1], 'day', ARGV[2])
return redis.call('HGET', KEYS[1], 'day')
