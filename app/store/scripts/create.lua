#!lua
-- Makes a session. ARGV: user, agent, id of its start turn or '', lifetime (ms), worker or '', mark, lease (ms),
--       profile or ''
local user, agent, start, lifetime, worker, mark, ttl, profile = unpack(ARGV)
if redis.call('EXISTS', M) == 1 then return { 'exists' } end
redis.call('HSET', M, 'user', user, 'agent', agent, 'seq', 0, 'mark', '', 'floor', 0, 'floor_mark', '',
  'fresh', lifetime, 'inputs', 0, 'waiting', 0, 'waiting_bytes', 0, 'controls', 0, 'log_bytes', 0)
if profile ~= '' then redis.call('HSET', M, 'profile', profile) end
if start == '' then
  redis.call('ZADD', DUE, now() + lifetime, S)
  keep(tonumber(lifetime))
  return { 'ok' }
end
redis.call('HSET', M, 'inputs', 1, 'waiting', 1)
redis.call('XADD', key('i'), '1-0', 'k', 'start', 'b', '', 't', start, 'g', '')
keep(tonumber(lifetime))
if worker == '' then
  redis.call('ZADD', DUE, now(), S)
  return { 'ok' }
end
return { 'ok', take(worker, mark, tonumber(ttl), meta()) }
