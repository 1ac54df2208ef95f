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
    'month_tokens', 'month_nano_usd', 'open_count', 'delinquent', 'limits')
  local account = {}
  for i, name in ipairs({'granted', 'available', 'held', 'captured', 'debt', 'month', 'month_tokens',
      'month_nano_usd', 'open_count', 'delinquent'}) do
    local number = stored[i] and tonumber(stored[i]) or 0
    if stored[i] and (not number or number % 1 ~= 0) then
      error('the account field ' .. name .. ' is damaged')
    end
    account[name] = number
  end
  account.limits = stored[11]
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
    tokens = tonumber(tokens), key_id = key_id, identity = string.sub(record, IDENTITY_AT),
  }
end

-- Whether a bit of a mask of four is set.
local function has(mask, index)
  return math.floor(mask / 2 ^ (index - 1)) % 2 == 1
end

local function lowered(buckets, requests, tokens)
  local level, at_us, token_level, token_at_us = string.match(buckets, BUCKETS)
  level = math.max(0, level - requests * UNITS)
  token_level = math.max(0, token_level - tokens * UNITS)
  return string.format('%d %s %d %s', level, at_us, token_level, token_at_us)
end

-- Takes what these holds charged out of the project's limits, and answers the keys' limits without
-- it, as HSET arguments.
local function give_back_limits(account, key, holds)
  local requests, tokens, of_project, of_project_tokens = {}, {}, 0, 0
  for _, hold in ipairs(holds) do
    local id = hold.key_id
    of_project = of_project + (has(hold.buckets, 1) and 1 or 0)
    of_project_tokens = of_project_tokens + (has(hold.buckets, 2) and hold.tokens or 0)
    requests[id] = (requests[id] or 0) + (has(hold.buckets, 3) and 1 or 0)
    tokens[id] = (tokens[id] or 0) + (has(hold.buckets, 4) and hold.tokens or 0)
  end
  if account.limits then
    account.limits = lowered(account.limits, of_project, of_project_tokens)
  end
  local changes = {}
  for id in pairs(requests) do
    local stored = redis.call('HGET', key, id)
    if stored then
      changes[#changes + 1] = id
      changes[#changes + 1] = lowered(stored, requests[id], tokens[id])
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
  if account.limits then
    redis.call('HSET', key, 'limits', account.limits)
  end
end

-- A move of money or of a hold, of this amount|tokens|key|details.
local function write_journal(key, kind, id, identity)
  redis.call('XADD', key, '*', kind, id, 'of', identity)
end

-- Raises where a key has another type, before anything is written.
local function require_types(deadlines, journal)
  redis.call('ZCARD', deadlines)
  redis.call('XLEN', journal)
end
