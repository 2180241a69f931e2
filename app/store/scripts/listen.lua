#!lua flags=allow-oom
-- A worker has sockets of the session, or has none any more. ARGV: worker, '1' or '0'
if redis.call('EXISTS', M) == 0 then return { 'missing' } end
redis.call(ARGV[2] == '1' and 'SADD' or 'SREM', key('l'), ARGV[1])
return { 'ok' }
