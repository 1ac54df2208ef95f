-- wrk script: every request carries texts that were never sent before, of BENCH_WORDS words each; a word is a token.
-- Environment: BENCH_SEED (another one for each run), BENCH_PATH, BENCH_KEY, BENCH_MODEL, BENCH_FORMAT, BENCH_USER, BENCH_TIER, BENCH_INPUTS, BENCH_WORDS, BENCH_SAME.
local words = {"payment","customer","delay","vector","ocean","granite","melody","theorem","garden","protein",
  "engine","harbour","winter","contract","signal","orchard","compiler","village","lantern","velocity","museum"}
local threads = 0

function setup(thread)
  thread:set("seed", tonumber(os.getenv("BENCH_SEED")) + threads)
  threads = threads + 1
end

local function text()
  local chosen = {}
  for i = 1, count do chosen[i] = words[math.random(#words)] end
  return '"' .. table.concat(chosen, " ") .. '"'
end

function init(args)
  math.randomseed(seed)
  path = os.getenv("BENCH_PATH")
  inputs = tonumber(os.getenv("BENCH_INPUTS") or "1")
  count = tonumber(os.getenv("BENCH_WORDS") or "22")
  headers = {["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. (os.getenv("BENCH_KEY") or "none")}
  head = '{"model":"' .. os.getenv("BENCH_MODEL") .. '","encoding_format":"' .. (os.getenv("BENCH_FORMAT") or "base64") .. '"'
  for name, variable in pairs({user = "BENCH_USER", service_tier = "BENCH_TIER"}) do
    local value = os.getenv(variable)
    if value then head = head .. ',"' .. name .. '":"' .. value .. '"' end
  end
  head = head .. ',"input":'
  if os.getenv("BENCH_SAME") then same = wrk.format("POST", path, headers, head .. text() .. "}") end
end

function request()
  if same then return same end
  if inputs == 1 then return wrk.format("POST", path, headers, head .. text() .. "}") end
  local texts = {}
  for i = 1, inputs do texts[i] = text() end
  return wrk.format("POST", path, headers, head .. "[" .. table.concat(texts, ",") .. "]}")
end
