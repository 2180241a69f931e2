#!lua
-- Keeps what is known of a file within a session's bounds, or only looks whether there is room for one more.
-- ARGV: user or '' (whoever's session it is), file or '', what is known of it, its bytes, most files, most bytes
local user, file, record, size, most, most_bytes = unpack(ARGV)
local m = redis.call('HMGET', M, 'user', 'ended', 'kept')
if not m[1] then return { 'missing' } end
if user ~= '' and m[1] ~= user then return { 'forbidden' } end
if m[2] then
  -- its bytes may have come after those of the session were deleted
  if file ~= '' then redis.call('SADD', tag .. ':gone', S) end
  return { 'ended' }
end
local F = key('f')
if redis.call('HEXISTS', F, file) == 1 then
  redis.call('HSET', F, file, record)
  return { 'ok' }
end
local bytes = tonumber(redis.call('HGET', F, '#bytes') or -1)
if bytes < 0 then
  bytes = 0
  redis.call('HSET', F, '#bytes', 0)
  if m[3] then redis.call('PEXPIREAT', F, m[3]) end
end
if redis.call('HLEN', F) > tonumber(most) then return { 'full', 'files' } end
if bytes + tonumber(size) > tonumber(most_bytes) then return { 'full', 'bytes' } end
if file ~= '' then redis.call('HSET', F, file, record, '#bytes', bytes + size) end
return { 'ok' }
