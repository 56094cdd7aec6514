-- One bucket (GCRA): KEYS[1] holds when it will be full, in microseconds after BASE on this server's own clock, so that
-- no two instances need to agree on the time. ARGV: what one is worth and what a whole bucket is, in microseconds of
-- refilling, and how many are taken; a negative number gives back.
-- Returns whether they were let in, and in how many microseconds the bucket will be full.
local BASE = 1700000000 -- seconds: numbers so small keep fractions of a microsecond
local time = redis.call('TIME')
local now = (time[1] - BASE) * 1000000 + time[2]
local step, full, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local due = tonumber(redis.call('GET', KEYS[1]) or now)
due = math.min(math.max(due, now), now + full) -- a clock that was set back, or a smaller bucket than before
local after = math.max(due + step * cost, now)
if cost > 0 and after > now + full + 0.5 then
  return { 0, math.ceil(due - now) }
end
if after > now then
  redis.call('SET', KEYS[1], string.format('%.3f', after), 'PX', math.ceil((after - now) / 1000))
else
  redis.call('DEL', KEYS[1])
end
return { 1, math.ceil(after - now) }
