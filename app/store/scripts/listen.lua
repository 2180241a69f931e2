#!lua flags=allow-oom
-- A worker has sockets of the session, or has none any more. ARGV: worker, '1' or '0'
local m = redis.call('HMGET', M, 'user', 'ended')
if not m[1] or m[2] then return { 'missing' } end
redis.call(ARGV[2] == '1' and 'SADD' or 'SREM', key('l'), ARGV[1])
return { 'ok' }
