-- Amounts and levels stay below 2^53, where doubles are exact.
local MAX = 9007199254740991
-- Of one request or token in a bucket: the microseconds of a minute.
local UNITS = 60000000
-- A hold's record: mark|month|limits|amount|tokens|key|details, where limits is a hexadecimal digit
-- with one bit for each limit that was charged; the part from the amount on is its identity, and
-- what the journal says of it.
local IDENTITY_AT = 12
-- Two buckets: level and moment in microseconds of the requests', then of the tokens'.
local BUCKETS = '^(%d+) (%d+) (%d+) (%d+)$'
local STATES = {o = 'held', c = 'captured', r = 'released', x = 'expired', l = 'expired', f = 'refunded', v = 'released'}
