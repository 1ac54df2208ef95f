-- Rates, standing, budgets and balance, and the hold: all, or nothing is consumed.
-- KEYS: account, limits, holds, deadlines, journal
-- ARGV: 1 hold id, 2 amount, 3 tokens, 4 time to live in ms, 5 details, 6 key id, 7 month's tokens,
--   8 month's nano-USD ('' for no budget), then for each limit that is set: its number (1 and 2 the
--   project's requests and tokens, 3 and 4 the key's), rate a minute and burst
-- Answers {state, amount, tokens, level of each limit}, or {reason, number of the limit, wait in µs,
-- level of each limit}, the levels in the order of ARGV.
-- Flat on purpose: this runs once a request, when the engine has emptied the processor's caches.
-- include ledger_constants
local function whole(text)
  local number = #text <= 16 and string.find(text, '^%d+$') and tonumber(text)
  return number and number <= MAX and number
end

local call = redis.call
local amount, tokens, ttl_ms = whole(ARGV[2]), whole(ARGV[3]), whole(ARGV[4])
if not (amount and tokens and ttl_ms) then
  return {'amount_out_of_range', 0, 0}
end
local identity = ARGV[2] .. '|' .. ARGV[3] .. '|' .. ARGV[6] .. '|' .. ARGV[5]
local known = call('HGET', KEYS[3], ARGV[1])
if known then
  local mark = string.sub(known, 1, 1)
  if mark == 'v' then
    return {'released', 0, 0}
  end
  if string.sub(known, IDENTITY_AT) ~= identity then
    return {'hold_conflict', 0, 0}
  end
  return {STATES[mark], amount, tokens}
end

local account = call('HMGET', KEYS[1], 'available', 'held', 'open_count', 'month_ends_us', 'month',
  'month_tokens', 'month_nano_usd', 'delinquent', 'limits')
if account[8] and account[8] ~= '0' then
  return {'delinquent', 0, 0}
end
local time = call('TIME')
local now = time[1] * 1000000 + time[2]

-- Rates: GCRA in its leaky bucket form, see app/core/gcra.py.
local buckets, levels, mask, worst, worst_us = {0, 0, 0, 0, 0, 0, 0, 0}, {}, 0, 0, 0
if account[9] then
  local a, b, c, d = string.match(account[9], BUCKETS)
  buckets[1], buckets[2], buckets[3], buckets[4] = a + 0, b + 0, c + 0, d + 0
end
local of_key = #ARGV > 8 and call('HGET', KEYS[2], ARGV[6])
if of_key then
  local a, b, c, d = string.match(of_key, BUCKETS)
  buckets[5], buckets[6], buckets[7], buckets[8] = a + 0, b + 0, c + 0, d + 0
end
for i = 9, #ARGV, 3 do
  local number, rate, burst = tonumber(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local cost = number % 2 == 1 and 1 or tokens
  if cost > burst then
    return {'larger_than_burst', number, 0}
  end
  local at_us = buckets[2 * number]
  local level = math.max(0, buckets[2 * number - 1] - math.max(0, now - at_us) * rate)
  local wait_us = math.ceil((level + cost * UNITS - burst * UNITS) / rate)
  if wait_us > worst_us then
    worst, worst_us = number, wait_us
  end
  levels[#levels + 1] = level
  buckets[2 * number - 1], buckets[2 * number] = level + cost * UNITS, math.max(at_us, now)
  mask = mask + 2 ^ (number - 1)
end
if worst_us > 0 then
  return {'rate_limited', worst, worst_us, unpack(levels)}
end

-- The calendar month in UTC; one that is over starts the figures anew.
local month, month_tokens, month_nano_usd = account[5], account[6] or 0, account[7] or 0
local month_ends_us = tonumber(account[4] or 0)
local is_new_month = now >= month_ends_us
if is_new_month then
  -- include month
  month_tokens, month_nano_usd = 0, 0
end
month_tokens, month_nano_usd = month_tokens + tokens, month_nano_usd + amount
if ARGV[7] ~= '' and tokens > 0 and month_tokens > tonumber(ARGV[7]) then
  return {'token_budget', 0, 0, unpack(levels)}
end
if ARGV[8] ~= '' and amount > 0 and month_nano_usd > tonumber(ARGV[8]) then
  return {'money_budget', 0, 0, unpack(levels)}
end
local available, held = tonumber(account[1] or 0), tonumber(account[2] or 0)
if available % 1 ~= 0 or held % 1 ~= 0 or month_tokens % 1 ~= 0 or month_nano_usd % 1 ~= 0 then
  error('the account is damaged')
end
if amount > available then
  return {'insufficient', 0, 0, unpack(levels)}
end
if month_tokens > MAX then
  return {'amount_out_of_range', 0, 0}
end
local open_count = (account[3] or 0) + 1
if open_count % 1 ~= 0 or month % 1 ~= 0 then
  error('the account is damaged')
end
local of_project = string.format('%d %d %d %d', unpack(buckets, 1, 4))
local record = string.format('o|%d|%x|', month, mask) .. identity
call('ZCARD', KEYS[4])

-- The journal first: like every other key it has been found to be of its type, or this line fails.
call('XADD', KEYS[5], '*', 'hold', ARGV[1], 'of', identity)
call('HSET', KEYS[1], 'available', available - amount, 'held', held + amount,
  'open_count', open_count, 'month_tokens', month_tokens, 'month_nano_usd', month_nano_usd, 'limits', of_project)
if is_new_month then
  call('HSET', KEYS[1], 'month', month, 'month_ends_us', month_ends_us)
end
if mask > 3 then
  call('HSET', KEYS[2], ARGV[6], string.format('%d %d %d %d', unpack(buckets, 5, 8)))
end
call('HSET', KEYS[3], ARGV[1], record)
call('ZADD', KEYS[4], math.floor(now / 1000) + ttl_ms, ARGV[1])
for position = 1, #levels do
  levels[position] = buckets[2 * ARGV[3 * position + 6] - 1]
end
return {'held', amount, tokens, unpack(levels)}
