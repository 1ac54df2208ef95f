-- Goes on with an attempt to answer, if the caller is still the one who makes it.
-- KEYS: the record
-- ARGV: 1 owner, 2 undone (the holds of lost attempts are) | kept (the answer is) | failed, 3 how long a record is kept, in ms
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then
  return 0
end
if ARGV[2] == 'undone' then
  redis.call('HSET', KEYS[1], 'lost', '')
elseif ARGV[2] == 'kept' then
  redis.call('HSET', KEYS[1], 'answered', 1)
  redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[3]))
elseif (redis.call('HGET', KEYS[1], 'lost') or '') == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'owner', '', 'until_ms', 0)
end
return 1
