-- wrk script: every request carries a text that was never sent before, about 24 tokens long.
-- Environment: BENCH_PATH, BENCH_KEY, BENCH_MODEL, BENCH_FORMAT, BENCH_USER.
local words = {"invoice","customer","latency","vector","ocean","granite","melody","theorem","garden","protein",
  "engine","harbour","winter","contract","signal","orchard","compiler","village","lantern","velocity","museum"}
local threads = 0

function setup(thread)
  thread:set("seed", os.time() * 100 + threads)
  threads = threads + 1
end

function init(args)
  math.randomseed(seed)
  path = os.getenv("BENCH_PATH")
  headers = {["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. (os.getenv("BENCH_KEY") or "none")}
  head = '{"model":"' .. os.getenv("BENCH_MODEL") .. '","encoding_format":"' .. (os.getenv("BENCH_FORMAT") or "base64") .. '","input":"'
  local user = os.getenv("BENCH_USER")
  if user then head = head:gsub('^{', '{"user":"' .. user .. '",') end
end

function request()
  local text = {}
  for i = 1, 22 do text[i] = words[math.random(#words)] end
  return wrk.format("POST", path, headers, head .. table.concat(text, " ") .. '"}')
end

failed = 0
function response(status)
  if status ~= 200 then failed = failed + 1 end
end
