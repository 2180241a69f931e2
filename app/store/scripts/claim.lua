#!lua flags=allow-oom
-- Takes a session's lease. ARGV: worker, mark, lease (ms), a worker known to be dead or '', 'due' if only a session
-- whose time has come is wanted, the lease of this worker's own that it knows nobody to go by, or ''
local worker, mark, ttl, known_dead, only_due, idle = unpack(ARGV)
local m = redis.call('HMGET', M, 'owner', 'ended', 'user', 'run', 'lease')
if not m[3] or m[2] then
  -- one that nobody took up for a day after its time has left its files behind
  if redis.call('ZREM', DUE, S) == 1 and not m[3] then redis.call('SADD', tag .. ':gone', S) end
  return { 'missing' }
end
local owner = m[1] or ''
if owner ~= '' and owner ~= worker and not dead(owner, known_dead) then return { 'owned', owner } end
-- its own may be in a reply that is still on its way to it
if owner == worker and m[5] ~= idle and m[5] ~= mark then return { 'held', m[5] } end
local expired = '0'
if only_due == 'due' and owner == '' then
  local at = redis.call('ZSCORE', DUE, S)
  if not at or tonumber(at) > now() then return { 'early' } end
  if (m[4] or '') == '' and redis.call('XLEN', key('i')) == 0 then
    -- only workers that can still be heard have sockets that keep a session
    tell_listeners('', 'h')
    expired = redis.call('SCARD', key('l')) == 0 and '1' or '0'
  end
end
return { 'ok', take(worker, mark, tonumber(ttl), meta()), expired }
