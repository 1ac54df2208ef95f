-- Ends an attempt to answer, if the caller is still the one who makes it.
-- KEYS: the record; ARGV: 1 owner, 2 kept | failed, 3 how long a record is kept, in ms
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then
  return 0
end
if ARGV[2] == 'kept' then
  redis.call('HSET', KEYS[1], 'answered', 1)
  redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[3]))
else
  redis.call('DEL', KEYS[1])
end
return 1
