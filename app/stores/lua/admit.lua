-- Rates, standing, budgets and balance, and the hold: all, or nothing is consumed.
-- KEYS: account, limits, holds, deadlines, journal
-- ARGV: 1 hold id, 2 amount, 3 tokens, 4 time to live in ms, 5 details, 6 key id, then for the
--   project's requests and tokens and the key's requests and tokens: rate a minute and burst
--   (7..14, 0 for no limit), 15 month's tokens, 16 month's nano-USD ('' for no budget)
-- Answers {state, amount, tokens, level × 4}, or {reason, bucket, wait in µs, level × 4}; a level
-- is -1 for a limit that is not set.
local hold_id, details, key_id = ARGV[1], ARGV[5], ARGV[6]
local amount, tokens, ttl_ms = whole(ARGV[2]), whole(ARGV[3]), whole(ARGV[4])
if not (amount and tokens and ttl_ms) then
  return {'amount_out_of_range', '', 0}
end

local identity = ARGV[2] .. '|' .. ARGV[3] .. '|' .. key_id .. '|' .. details
local known = redis.call('HGET', KEYS[3], hold_id)
if known then
  local mark = string.sub(known, 1, 1)
  if mark ~= 'v' and string.sub(known, IDENTITY_AT) ~= identity then
    return {'hold_conflict', '', 0}
  end
  local hold = read_hold(known)
  return {STATES[mark], hold.amount, hold.tokens, -1, -1, -1, -1}
end

local account = read_account(KEYS[1])
if account.delinquent ~= 0 then
  return {'delinquent', '', 0}
end

local now = now_us()
local levels, mask, fields = {-1, -1, -1, -1}, 0, {}
local set, costs, rates, capacities = {}, {}, {}, {}
local names = bucket_names(key_id)
for i = 1, 4 do
  local rate, burst = tonumber(ARGV[5 + 2 * i]), tonumber(ARGV[6 + 2 * i])
  if rate > 0 then
    local cost = (i % 2 == 1) and 1 or tokens
    if cost > burst then
      return {'larger_than_burst', names[i], 0, -1, -1, -1, -1}
    end
    set[#set + 1] = i
    costs[i], rates[i], capacities[i] = cost * UNITS, rate, burst * UNITS
    fields[#fields + 1] = names[i] .. '.level'
    fields[#fields + 1] = names[i] .. '.at_us'
    mask = mask + 2 ^ (i - 1)
  end
end

local changes, worst_name, worst_us = {}, '', 0
if #set > 0 then
  local stored = redis.call('HMGET', KEYS[2], unpack(fields))
  for position, i in ipairs(set) do
    local level, at_us = tonumber(stored[2 * position - 1] or 0), tonumber(stored[2 * position] or 0)
    level = math.max(0, level - math.max(0, now - at_us) * rates[i])
    local excess = level + costs[i] - capacities[i]
    if excess > 0 then
      local wait_us = math.ceil(excess / rates[i])
      if wait_us > worst_us then
        worst_name, worst_us = names[i], wait_us
      end
    end
    levels[i] = level
    changes[#changes + 1] = fields[2 * position - 1]
    changes[#changes + 1] = level + costs[i]
    changes[#changes + 1] = fields[2 * position]
    changes[#changes + 1] = math.max(at_us, now)
  end
  if worst_us > 0 then
    return {'rate_limited', worst_name, worst_us, unpack(levels)}
  end
end

local month = month_of(now)
if month > account.month then
  account.month, account.month_tokens, account.month_nano_usd = month, 0, 0
end
account.month_tokens = account.month_tokens + tokens
account.month_nano_usd = account.month_nano_usd + amount
if ARGV[15] ~= '' and tokens > 0 and account.month_tokens > tonumber(ARGV[15]) then
  return {'token_budget', '', 0, unpack(levels)}
end
if ARGV[16] ~= '' and amount > 0 and account.month_nano_usd > tonumber(ARGV[16]) then
  return {'money_budget', '', 0, unpack(levels)}
end
if amount > account.available then
  return {'insufficient', '', 0, unpack(levels)}
end
if account.month_tokens > MAX then
  return {'amount_out_of_range', '', 0}
end
require_types(KEYS[4], KEYS[5])

account.available = account.available - amount
account.held = account.held + amount
account.open_count = account.open_count + 1
write_account(KEYS[1], account)
if #set > 0 then
  redis.call('HSET', KEYS[2], unpack(changes))
  for _, i in ipairs(set) do
    levels[i] = levels[i] + costs[i]
  end
end
redis.call('HSET', KEYS[3], hold_id, string.format('o|%d|%x|', account.month, mask) .. identity)
redis.call('ZADD', KEYS[4], math.floor(now / 1000) + ttl_ms, hold_id)
write_journal(KEYS[5], 'hold', hold_id, amount, tokens, details)
return {'held', amount, tokens, unpack(levels)}
