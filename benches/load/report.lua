-- What wrk counted, as one line of JSON. It runs when all is over, so it costs the requests nothing.
function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '{"requests":%d,"microseconds":%d,"p99":%d,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(99), failed))
end
