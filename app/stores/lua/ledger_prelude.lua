-- Shared by the ledger's scripts. Every script reads and validates everything before its first write,
-- because a script that fails later keeps what it wrote.
local function now_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- A whole number of 0..2^53-1 from its decimal digits, or nil.
local function whole(text)
  if text and #text <= 16 and string.find(text, '^%d+$') then
    local number = tonumber(text)
    if number <= MAX then
      return number
    end
  end
  return nil
end

-- An account's money; a missing account is all zeros, a damaged one raises before any write.
local function read_account(key)
  local stored = redis.call('HMGET', key, 'granted', 'available', 'held', 'captured', 'debt', 'month',
    'month_tokens', 'month_nano_usd', 'open_count', 'delinquent')
  local account = {}
  for i, name in ipairs({'granted', 'available', 'held', 'captured', 'debt', 'month', 'month_tokens',
      'month_nano_usd', 'open_count', 'delinquent'}) do
    local number = stored[i] and tonumber(stored[i]) or 0
    if stored[i] and (not number or number % 1 ~= 0) then
      error('the account field ' .. name .. ' is damaged')
    end
    account[name] = number
  end
  return account
end

local function read_hold(record)
  local mark, month, buckets, amount, tokens, key_id =
    string.match(record, '^(%l)|(%d+)|(%x)|(%d+)|(%d+)|([^|]*)|')
  if not mark then
    error('a hold is damaged')
  end
  return {
    mark = mark, month = tonumber(month), buckets = tonumber(buckets, 16), amount = tonumber(amount),
    tokens = tonumber(tokens), key_id = key_id, amount_text = amount, tokens_text = tokens,
    details = string.match(record, '^%l|%d+|%x|%d+|%d+|[^|]*|(.*)$'),
  }
end

local function bucket_names(key_id)
  return {'requests', 'tokens', key_id .. ':requests', key_id .. ':tokens'}
end

-- Whether a bit of a mask of four is set.
local function has(mask, index)
  return math.floor(mask / 2 ^ (index - 1)) % 2 == 1
end

-- The levels that the limits charged by a hold have after it is given back, as HSET arguments.
local function levels_given_back(key, hold)
  local names, wanted, costs = bucket_names(hold.key_id), {}, {}
  for i = 1, 4 do
    if has(hold.buckets, i) then
      wanted[#wanted + 1] = names[i] .. '.level'
      costs[#costs + 1] = (i % 2 == 1) and 1 or hold.tokens
    end
  end
  local changes = {}
  if #wanted > 0 then
    local levels = redis.call('HMGET', key, unpack(wanted))
    for i, level in ipairs(levels) do
      if level then
        changes[#changes + 1] = wanted[i]
        changes[#changes + 1] = math.max(0, tonumber(level) - costs[i] * UNITS)
      end
    end
  end
  return changes
end

-- Takes a hold out of the account's figures for the month, unless the month is over.
local function give_back_budget(account, hold)
  if account.month == hold.month then
    account.month_tokens = math.max(0, account.month_tokens - hold.tokens)
    account.month_nano_usd = math.max(0, account.month_nano_usd - hold.amount)
  end
end

-- Puts an amount back into what is available, a debt first.
local function credit(account, amount)
  local paid = math.min(account.debt, math.max(0, amount))
  account.debt = account.debt - paid
  account.available = account.available + amount - paid
end

local function write_account(key, account)
  redis.call('HSET', key, 'granted', account.granted, 'available', account.available, 'held', account.held,
    'captured', account.captured, 'debt', account.debt, 'month', account.month,
    'month_tokens', account.month_tokens, 'month_nano_usd', account.month_nano_usd,
    'open_count', account.open_count)
end

local function write_journal(key, kind, id, amount, tokens, details)
  redis.call('XADD', key, '*', 'kind', kind, 'id', id, 'amount', amount, 'tokens', tokens, 'details', details)
end

-- Raises where a key has another type, before anything is written.
local function require_types(deadlines, journal)
  redis.call('ZCARD', deadlines)
  redis.call('XLEN', journal)
end
