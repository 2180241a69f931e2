#!lua flags=allow-oom
-- Adds to the log and applies what changes with it, if the lease and the position are the caller's.
-- ARGV: mark, expected seq, batch id, worker, lifetime (ms),
--       release ('', 'idle', 'left' if nobody is attached either, 'handover', 'end'),
--       run ('', 'start', 'finish'), turn, attempt,
--       number of entries, then first, last, frame of each,
--       number of done inputs, then their indexes,
--       number of state changes, then key, '+' .. value or '-' of each,
--       number of asks and of durable steps of the running turn, then key, value of each
local mark, expected, batch, worker, lifetime, release, run, turn, attempt = unpack(ARGV, 1, 9)
local at = 9
local function arg()
  at = at + 1
  return ARGV[at]
end
local m = redis.call('HMGET', M, 'lease', 'seq', 'batch', 'waiting', 'waiting_bytes', 'controls', 'log_bytes',
  'fresh', 'kept', 'tables', 'values', 'floor', 'run', 'live', 'deaths')
if m[3] == batch .. ' idle' or m[3] == batch .. ' held' then
  return { 'ok', string.sub(m[3], -4), m[7], m[12] }
end
if m[1] ~= mark then return { 'fenced' } end
if m[2] ~= expected then return { 'regressed', m[2] } end

local changed = { 'HSET', M }
local function change(field, value)
  changed[#changed + 1] = field
  changed[#changed + 1] = value
end

local log_bytes = tonumber(m[7])
local entries = tonumber(arg())
for _ = 1, entries do
  local first, last, frame = arg(), arg(), arg()
  redis.call('XADD', key('e'), last .. '-0', 's', first, 'm', mark, 'f', frame)
  log_bytes = log_bytes + #frame
  tell_listeners(worker, 'e', S, first, last, mark, frame)
  change('seq', last)
end
if entries > 0 then
  change('mark', mark)
  change('log_bytes', log_bytes)
end

local waiting, waiting_bytes, controls = tonumber(m[4]), tonumber(m[5]), tonumber(m[6])
local done = tonumber(arg())
local is_last, is_empty = done == 1 and waiting == 1 and controls == 0, false
for _ = 1, done do
  local id = arg() .. '-0'
  if is_last then -- nothing else waits, so there is no need to look what it is
    is_empty = redis.call('XDEL', key('i'), id) == 1
    if is_empty then waiting, waiting_bytes = 0, 0 end
  else
    local entry = redis.call('XRANGE', key('i'), id, id)[1]
    if entry then
      local kind, body = entry[2][2], entry[2][4]
      if is_control(kind) then
        controls = controls - 1
      else
        waiting = waiting - 1
        waiting_bytes = waiting_bytes - #body
      end
      redis.call('XDEL', key('i'), id)
    end
  end
end
if done > 0 then
  change('waiting', waiting)
  change('waiting_bytes', waiting_bytes)
  if controls ~= tonumber(m[6]) then change('controls', controls) end
end

local values = tonumber(arg())
if values > 0 and not m[11] then change('values', '1') end
for _ = 1, values do
  local field, value = arg(), arg()
  if value == '-' then
    redis.call('HDEL', key('u'), field)
  else
    redis.call('HSET', key('u'), field, string.sub(value, 2))
  end
end

local tables = m[10] == '1'
for _, kind in ipairs({ 'q', 'k' }) do
  for _ = 1, tonumber(arg()) do
    local field, value = arg(), arg()
    redis.call('HSET', key(kind), field, value)
    if not tables then change('tables', '1') end
    tables = true
  end
end

if run == 'start' then
  change('run', turn)
  change('attempt', attempt)
  change('live', '1')
elseif run == 'finish' then
  if (m[13] or '') ~= '' then change('run', '') end
  if m[14] == '1' then change('live', '0') end
  if tonumber(m[15] or 0) > 0 then change('deaths', 0) end
  if tables then
    redis.call('UNLINK', key('q'), key('k'))
    change('tables', '0')
  end
end

-- Only workers that can still be heard have sockets.
local function is_left()
  tell_listeners(worker, 'h')
  return redis.call('SCARD', key('l')) == 0
end
local idle = release == 'handover' or release == 'end'
if release == 'idle' or release == 'left' then
  idle = (is_empty or redis.call('XLEN', key('i')) == 0) and (release == 'idle' or is_left())
end
if idle then
  change('owner', '')
  change('lease', '')
  change('previous', mark)
  -- a handover is no death of the turn that it interrupts
  if release == 'handover' then change('live', '0') end
end
change('batch', batch .. (idle and ' idle' or ' held'))
redis.call(unpack(changed))

if release == 'end' then
  tell_listeners(worker, 'x ' .. S)
  if redis.call('EXISTS', key('f')) == 1 then redis.call('SADD', tag .. ':gone', S) end
  for _, kind in ipairs({ 'i', 'e', 'd', 'q', 'u', 'k', 'x', 'l', 'f' }) do redis.call('UNLINK', key(kind)) end
  redis.call('ZREM', DUE, S)
  redis.call('HSET', M, 'ended', '1')
  redis.call('PEXPIRE', M, 86400000)
elseif idle then
  -- a session that only its agent has spoken in yet lives no longer than one without any word
  if m[8] and m[8] ~= '' then lifetime = m[8] end
  redis.call('ZADD', DUE, release == 'handover' and now() or now() + lifetime, S)
  keep(tonumber(lifetime), m[9])
end
return { 'ok', idle and 'idle' or 'held', log_bytes, m[12] }
