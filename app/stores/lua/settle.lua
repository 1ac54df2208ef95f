-- Ends a hold, or says how it ended before.
-- KEYS: account, limits, holds, deadlines, journal
-- ARGV: 1 hold id, 2 capture | release | undelivered, 3 amount, which undelivered leaves to the hold,
--   4 how long an ended hold is remembered, in ms
-- Answers {state, amount, tokens}, {'unknown'} or {'hold_conflict'}.
-- include ledger_constants
local call = redis.call
local hold_id, verb = ARGV[1], ARGV[2]
local record = call('HGET', KEYS[3], hold_id)

-- The way of almost every request, flat for the sake of speed.
if verb == 'capture' and record and string.sub(record, 1, 2) == 'o|' then
  local amount, tokens = string.match(record, '^o|%d+|%x|(%d+)|(%d+)|')
  if amount ~= ARGV[3] then
    return {'hold_conflict'}
  end
  local account = call('HMGET', KEYS[1], 'held', 'captured', 'open_count')
  local held, captured, open_count = account[1] - amount, (account[2] or 0) + amount, account[3] - 1
  if held < 0 or held % 1 ~= 0 or captured % 1 ~= 0 or open_count % 1 ~= 0 then
    error('the account is damaged')
  end
  call('ZCARD', KEYS[4])
  local time = call('TIME')
  local forgotten_ms = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[4])

  -- The journal first: like every other key it has been found to be of its type, or this line fails.
  call('XADD', KEYS[5], '*', 'capture', hold_id, 'of', string.sub(record, IDENTITY_AT))
  call('HSET', KEYS[1], 'held', held, 'captured', captured, 'open_count', open_count)
  call('HSET', KEYS[3], hold_id, 'c' .. string.sub(record, 2))
  call('ZADD', KEYS[4], forgotten_ms, hold_id)
  return {'captured', tonumber(amount), tonumber(tokens)}
end

-- include ledger_prelude
local amount, retain_ms = whole(ARGV[3]), whole(ARGV[4])
if not (amount and retain_ms) then
  return {'amount_out_of_range'}
end
local now = now_us()
local function remember(text)
  redis.call('HSET', KEYS[3], hold_id, text)
  redis.call('ZADD', KEYS[4], math.floor(now / 1000) + retain_ms, hold_id)
end

if not record then
  if verb == 'undelivered' then
    require_types(KEYS[4], KEYS[5])
    remember('v|000000|0|0|0||')
  end
  return {'unknown'}
end
local hold = read_hold(record)
if hold.mark == 'v' then
  return {STATES.v, 0, 0}
end
if verb ~= 'undelivered' and amount ~= hold.amount then
  return {'hold_conflict'}
end
amount = hold.amount

local mark, kind
local account = read_account(KEYS[1])
local changes = {}
if hold.mark == 'o' then
  account.open_count = account.open_count - 1
end
if (verb == 'release' or verb == 'undelivered') and hold.mark == 'o' then
  account.held = account.held - amount
  credit(account, amount)
  give_back_budget(account, hold)
  changes = give_back_limits(account, KEYS[2], {hold})
  mark, kind = 'r', 'release'
elseif verb == 'undelivered' and hold.mark == 'c' and account.granted + amount <= MAX then
  account.granted = account.granted + amount
  credit(account, amount)
  give_back_budget(account, hold)
  changes = give_back_limits(account, KEYS[2], {hold})
  mark, kind = 'f', 'refund'
elseif verb == 'capture' and hold.mark == 'x' then
  mark, kind = 'l', 'forfeit'
end
if mark then
  require_types(KEYS[4], KEYS[5])
  if mark ~= 'l' then
    write_account(KEYS[1], account)
  end
  if #changes > 0 then
    redis.call('HSET', KEYS[2], unpack(changes))
  end
  remember(mark .. string.sub(record, 2))
  write_journal(KEYS[5], kind, hold_id, hold.identity)
end
return {STATES[mark or hold.mark], hold.amount, hold.tokens}
