-- Adds credit or corrects it, once for each id.
-- KEYS: account, grants, journal
-- ARGV: 1 grant id, 2 amount, negative to correct, 3 details
-- Answers granted | grant_conflict | insufficient | amount_out_of_range.
-- include ledger_constants
-- include ledger_prelude
local grant_id, details = ARGV[1], ARGV[3]
local known = redis.call('HGET', KEYS[2], grant_id)
if known then
  return known == ARGV[2] .. '|' .. details and 'granted' or 'grant_conflict'
end
local negative = string.sub(ARGV[2], 1, 1) == '-'
local amount = whole(negative and string.sub(ARGV[2], 2) or ARGV[2])
if not amount or amount == 0 then
  return 'amount_out_of_range'
end
amount = negative and -amount or amount
local account = read_account(KEYS[1])
if account.granted + amount > MAX then
  return 'amount_out_of_range'
end
if account.available + amount < 0 then
  return 'insufficient'
end
redis.call('XLEN', KEYS[3])

account.granted = account.granted + amount
credit(account, amount)
write_account(KEYS[1], account)
redis.call('HSET', KEYS[2], grant_id, ARGV[2] .. '|' .. details)
write_journal(KEYS[3], 'grant', grant_id, ARGV[2] .. '|0||' .. details)
return 'granted'
