-- Sets month, like 202611, and month_ends_us, when it is over, from now, in µs since 1970; in UTC,
-- after Howard Hinnant's civil_from_days and days_from_civil.
local floor = math.floor
local days = floor(now / 86400000000) + 719468
local era = floor(days / 146097)
local of_era = days - era * 146097
local year = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
local shifted = floor((5 * of_year + 2) / 153)
local number = shifted < 10 and shifted + 3 or shifted - 9
year = year + era * 400 + (number <= 2 and 1 or 0)
month = year * 100 + number
year, number = year + floor(number / 12), number % 12 + 1
year = number <= 2 and year - 1 or year
era = floor(year / 400)
year = year - era * 400
of_year = floor((153 * (number > 2 and number - 3 or number + 9) + 2) / 5)
of_era = year * 365 + floor(year / 4) - floor(year / 100) + of_year
month_ends_us = (era * 146097 + of_era - 719468) * 86400000000
