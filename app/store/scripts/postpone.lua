#!lua flags=allow-oom
-- Gives a lease back without a word in the log. ARGV: mark, when to look again (ms from now), lifetime (ms)
local mark, later, lifetime = unpack(ARGV)
if redis.call('HGET', M, 'lease') ~= mark then return { 'fenced' } end
redis.call('HSET', M, 'owner', '', 'lease', '', 'previous', mark)
redis.call('ZADD', DUE, now() + later, S)
keep(tonumber(lifetime), redis.call('HGET', M, 'kept'))
return { 'ok' }
