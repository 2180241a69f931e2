#!lua flags=allow-oom
-- Keeps a snapshot at a floor and trims the log up to it. ARGV: mark, floor, its mark, snapshot
local mark, floor, floor_mark, snapshot = unpack(ARGV)
local m = redis.call('HMGET', M, 'lease', 'seq', 'floor')
if m[1] ~= mark then return { 'fenced' } end
if tonumber(floor) > tonumber(m[2]) then return { 'regressed', m[2] } end
if tonumber(floor) > tonumber(m[3]) then
  redis.call('SET', key('x'), snapshot, 'KEEPTTL')
  redis.call('XTRIM', key('e'), 'MINID', (floor + 1) .. '-0')
  local log_bytes = 0
  for _, entry in ipairs(redis.call('XRANGE', key('e'), '-', '+')) do
    log_bytes = log_bytes + #entry[2][6]
  end
  redis.call('HSET', M, 'floor', floor, 'floor_mark', floor_mark, 'log_bytes', log_bytes)
end
return { 'ok', redis.call('HGET', M, 'log_bytes') }
