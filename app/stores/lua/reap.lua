-- Expires due holds in the customer's favour, and forgets ended ones whose time is over.
-- KEYS: account, limits, holds, deadlines, journal
-- ARGV: 1 how many at most, 2 how long an ended hold is remembered, in ms
-- Answers {expired, forgotten}.
-- include ledger_constants
-- include ledger_prelude
local now = now_us()
local now_ms = math.floor(now / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now_ms, 'LIMIT', 0, tonumber(ARGV[1]))
if #due == 0 then
  return {0, 0}
end
local retain_ms = assert(whole(ARGV[2]), 'no time to remember')
local records = redis.call('HMGET', KEYS[3], unpack(due))
local account = read_account(KEYS[1])
local expired, forgotten = {}, {}
for i, hold_id in ipairs(due) do
  local hold = records[i] and read_hold(records[i])
  if hold and hold.mark == 'o' then
    account.held = account.held - hold.amount
    account.open_count = account.open_count - 1
    credit(account, hold.amount)
    give_back_budget(account, hold)
    hold.id, hold.record = hold_id, 'x' .. string.sub(records[i], 2)
    expired[#expired + 1] = hold
  else
    forgotten[#forgotten + 1] = hold_id
  end
end
local changes = give_back_limits(account, KEYS[2], expired)
require_types(KEYS[4], KEYS[5])

if #expired > 0 then
  write_account(KEYS[1], account)
  if #changes > 0 then
    redis.call('HSET', KEYS[2], unpack(changes))
  end
  for _, hold in ipairs(expired) do
    redis.call('HSET', KEYS[3], hold.id, hold.record)
    redis.call('ZADD', KEYS[4], now_ms + retain_ms, hold.id)
    write_journal(KEYS[5], 'expire', hold.id, hold.identity)
  end
end
if #forgotten > 0 then
  redis.call('HDEL', KEYS[3], unpack(forgotten))
  redis.call('ZREM', KEYS[4], unpack(forgotten))
end
return {#expired, #forgotten}
