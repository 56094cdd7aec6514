-- One bucket (GCRA): KEYS[1] holds when it will be full, in microseconds after BASE on this server's own clock, so that
-- no two instances need to agree on the time. ARGV: what one is worth and what a whole bucket is, in microseconds of
-- refilling, how many are taken (a negative number gives back), and how long a period is in which time stands still, in
-- microseconds: 0 for a rate, and for a quota, all of which is back when the next period begins.
-- Returns whether they were let in, in how many microseconds of its time the bucket will be full, and what is left of the
-- period.
local BASE = 1700000000 -- seconds: numbers so small keep fractions of a microsecond
local time = redis.call('TIME')
local now = (time[1] - BASE) * 1000000 + time[2]
local step, full, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local period, left, micros = tonumber(ARGV[4]), 0, math.ceil
if period > 0 then
  local into = (time[1] * 1000000 + time[2]) % period
  now, left = now - into, period - into
end
local known = tonumber(redis.call('GET', KEYS[1]) or now)
local due = math.min(math.max(known, now), now + full)
if period > 0 then
  -- Whole ones, and told as no more than they are: where time stands still, what is rounded off adds up.
  due, micros = now + math.floor((due - now) / step + 0.5) * step, math.floor
end
local after = math.max(due + step * cost, now)
local let_in = cost <= 0 or after <= now + full + 0.5
if not let_in then
  if known <= now + full + 0.5 then
    return { 0, micros(due - now), left }
  end
  after = due -- a clock that was set back, or a smaller bucket than before: it is full, and no fuller
end
if after > now then
  redis.call('SET', KEYS[1], string.format('%.3f', after), 'PX', math.ceil((period > 0 and left or after - now) / 1000))
else
  redis.call('DEL', KEYS[1])
end
return { let_in and 1 or 0, micros(after - now), left }
