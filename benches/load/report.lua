-- Pauses before each request, if the script's first argument has milliseconds for it.
function init(arguments)
  local pause = tonumber(arguments[1]) or 0
  if pause > 0 then
    delay = function() return pause end
  end
end

-- What was counted, as one line of JSON.
function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '{"requests":%d,"microseconds":%d,"p99":%d,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(99), failed))
end
