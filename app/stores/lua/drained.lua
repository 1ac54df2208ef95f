-- Marks a part of the journal as written outside: adds its usage up and trims it, once.
-- KEYS: 1 the project's mark, 2 its journal, 3 its usage of the month
-- ARGV: 1 the part's number, 2 the first entry id to keep, 3 how many kinds of usage a month keeps
--   apart, 4 seconds that usage is kept, then for each kind: its name, the name to use beyond
--   that bound, requests, tokens, cached tokens, nano-USD
-- Answers 1, or 0 when this part was marked before.
local part = tonumber(ARGV[1])
if part < tonumber(redis.call('GET', KEYS[1]) or 0) then
  return 0
end
redis.call('XLEN', KEYS[2])
local kinds = redis.call('HLEN', KEYS[3])
local totals = {}
for i = 5, #ARGV, 6 do
  local name = ARGV[i]
  local stored = totals[name] or redis.call('HGET', KEYS[3], name)
  if not stored then
    if kinds >= tonumber(ARGV[3]) then
      name = ARGV[i + 1]
      stored = totals[name] or redis.call('HGET', KEYS[3], name)
    else
      kinds = kinds + 1
    end
  end
  local values = {0, 0, 0, 0}
  if stored then
    local r, t, c, a = string.match(stored, '^(%-?%d+)|(%-?%d+)|(%-?%d+)|(%-?%d+)$')
    values = {tonumber(r), tonumber(t), tonumber(c), tonumber(a)}
  end
  for j = 1, 4 do
    values[j] = string.format('%.0f', values[j] + tonumber(ARGV[i + 1 + j]))
  end
  totals[name] = table.concat(values, '|')
end
for name, total in pairs(totals) do
  redis.call('HSET', KEYS[3], name, total)
end
if next(totals) then
  redis.call('EXPIRE', KEYS[3], tonumber(ARGV[4]))
end
redis.call('XTRIM', KEYS[2], 'MINID', ARGV[2])
redis.call('SET', KEYS[1], part + 1)
return 1
