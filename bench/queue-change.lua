-- SPDX-License-Identifier: BSD-3-Clause
-- wrk publishes updates: wrk -s queue-change.lua URL -- TOKEN ENVIRONMENTS
-- Each is newer than the one before it, so that none is stale; environments take turns.
local threads = 0

function setup(thread)
   threads = threads + 1
   thread:set("number", threads)
end

function init(args)
   -- In the past, so that it is this that orders them, and not the time at which they are stored.
   start = os.time() - 1000
   count = 0
   environments = tonumber(args[2])
   before = "/queue-change HTTP/1.1\r\nHost: bench\r\nAuthorization: Token " .. args[1] ..
      "\r\nContent-Type: application/json\r\nContent-Length: 33\r\n\r\n{\"updated_at\": "
end

function request()
   count = count + 1
   return string.format("POST /sse/environments/wrk-%d-%d%s%d.%06d}", number, count % environments,
      before, start + math.floor(count / 1000000), count % 1000000)
end

-- One line of JSON, the last of the output.
function done(summary, latency, requests)
   local errors = summary.errors
   print(string.format('{"requests": %d, "seconds": %.3f, "p50_us": %d, "p99_us": %d, "errors": %d}',
      summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
