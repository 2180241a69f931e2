#!lua
-- Makes a session. ARGV: user, agent, id of its start turn or '', lifetime (ms), worker or '', mark, lease (ms),
--       profile or ''
local user, agent, start, lifetime, worker, mark, ttl, profile = unpack(ARGV)
if redis.call('EXISTS', M) == 1 then return { 'exists' } end
-- in the order in which they are looked for: a small hash is gone through from its beginning
redis.call('HSET', M, 'inputs', 0, 'waiting', 0, 'waiting_bytes', 0, 'controls', 0, 'owner', '', 'lease', '',
  'previous', '', 'seq', 0, 'mark', '', 'batch', '', 'log_bytes', 0, 'fresh', lifetime, 'run', '', 'deaths', 0,
  'live', 0, 'user', user, 'agent', agent, 'floor', 0, 'floor_mark', '')
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
