-- Puts an upload into its next state, if it still is what the caller read.
-- KEYS: hash of uploads
-- ARGV: 1 upload id, 2 what was read ('' for nothing), 3 next, 4 how many uploads a project may have
local current = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if current == ARGV[3] then
  return 'done' -- a client that lost the answer asks again
end
if current ~= ARGV[2] then
  return 'changed'
end
if ARGV[2] == '' and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  return 'full'
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 'done'
