-- What several scripts share; put in front of each of them.
local M = KEYS[1]
local tag, S = string.match(M, '^({p%d+}):m:(.*)$')
local function key(kind) return tag .. ':' .. kind .. ':' .. S end
local DUE = tag and tag .. ':due'
local function workers() return tag .. ':w' end

-- Redis time alone decides a lease; it stands still while a script runs.
local clock
local function now()
  if not clock then
    local t = redis.call('TIME')
    clock = t[1] * 1000 + math.floor(t[2] / 1000)
  end
  return clock
end

local function dead(owner, known_dead)
  if owner == known_dead then return true end
  local deadline = redis.call('ZSCORE', workers(), owner)
  return not deadline or tonumber(deadline) < now()
end

local function tell(worker, message)
  return redis.call('PUBLISH', 'parley:w:' .. worker, message)
end

-- Tells the workers with sockets of this session, but for one, what is said by words with spaces between them: joined
-- only where somebody is to be told. A worker nobody hears is gone or is subscribing again, and then listens anew of its
-- own accord.
local function tell_listeners(but, ...)
  for _, worker in ipairs(redis.call('SMEMBERS', key('l'))) do
    if worker ~= but and tell(worker, table.concat({ ... }, ' ')) == 0 then
      redis.call('SREM', key('l'), worker)
    end
  end
end

local function pending()
  local inputs = {}
  for _, entry in ipairs(redis.call('XRANGE', key('i'), '-', '+')) do
    local fields = entry[2]
    inputs[#inputs + 1] = { string.match(entry[1], '^%d+'), fields[2], fields[4], fields[6], fields[8] }
  end
  return inputs
end

local function is_control(kind) return kind == 'cancel' or kind == 'answer' or kind == 'end' end

-- What says only that a connection came or went: nobody has used the session yet.
local function is_presence(kind) return kind == 'connect' or kind == 'disconnect' end

-- What decides about a new input (count, inputs and bytes that wait, controls, owner, whether it ended, user, whether it
-- is fresh), and what about a new owner (lease, the one before, running turn, deaths, whether an attempt was under way).
local function meta()
  return redis.call('HMGET', M, 'inputs', 'waiting', 'waiting_bytes', 'controls', 'owner', 'ended', 'user', 'fresh',
    'lease', 'previous', 'run', 'deaths', 'live')
end

-- Cancels, answers and ends that may wait in an inbox, beside its other inputs.
local CONTROLS = 32

-- The bound that one more input would pass, or nil.
local function full(m, kind, body, size, bytes)
  if is_control(kind) then return tonumber(m[4]) >= CONTROLS and 'controls' or nil end
  if tonumber(m[2]) >= tonumber(size) then return 'size' end
  if tonumber(m[3]) + #body > tonumber(bytes) then return 'bytes' end
end

-- Keeps an input and answers with its index, with what has to change with it in the session's meta, which is left to
-- `rouse`, and with all that is pending if that is known to be this one alone.
local function put(m, kind, body, turn, target)
  local index = tostring(m[1] + 1)
  redis.call('XADD', key('i'), index .. '-0', 'k', kind, 'b', body, 't', turn, 'g', target)
  local changed = is_control(kind) and { 'inputs', index, 'controls', m[4] + 1 }
    or { 'inputs', index, 'waiting', m[2] + 1, 'waiting_bytes', m[3] + #body }
  if m[8] ~= '' and not is_presence(kind) then
    changed[#changed + 1] = 'fresh'
    changed[#changed + 1] = ''
  end
  local alone = tonumber(m[2]) == 0 and tonumber(m[4]) == 0 and { { index, kind, body, turn, target } }
  return index, changed, alone
end

-- Gives the lease to a worker and answers with all it needs to go on. `m` is what `meta` said, `changed` are other
-- fields of it to be set, `inputs` those that are pending if they are known. Whoever had the lease of the mark `known`
-- and nobody after it needs only the time.
local function take(worker, mark, ttl, m, changed, inputs, known)
  changed = changed or {}
  local function change(field, value)
    changed[#changed + 1] = field
    changed[#changed + 1] = value
  end
  change('owner', worker)
  change('lease', mark)
  local deaths = tonumber(m[12] or 0)
  if m[13] == '1' then
    deaths = deaths + 1
    change('deaths', deaths)
    change('live', '0')
  end
  redis.call('HSET', M, unpack(changed))
  local time = now()
  -- a claim tells of life as a renewal does, no more often than those
  if tonumber(redis.call('ZSCORE', workers(), worker) or 0) < time + ttl - 500 then
    redis.call('ZADD', workers(), 'GT', time + ttl, worker)
  end
  redis.call('ZADD', DUE, time + ttl, S)
  local run = m[11] or ''
  if inputs and known and known ~= '' and m[10] == known and m[9] == '' and deaths == 0 and run == '' then
    return { time }
  end
  local previous = m[9]
  if not previous or previous == '' then previous = m[10] or '' end
  local asks, steps = {}, {}
  if run ~= '' then asks, steps = redis.call('HGETALL', key('q')), redis.call('HGETALL', key('k')) end
  local r = redis.call('HMGET', M, 'agent', 'seq', 'mark', 'floor', 'floor_mark', 'log_bytes', 'attempt', 'profile',
    'values')
  return { m[7], r[1], previous, r[2], r[3], r[4], r[5], r[6], run, r[7] or 0, deaths,
    inputs or pending(), r[9] and redis.call('HGETALL', key('u')) or {}, asks, steps, time, m[5] or '', r[8] or '' }
end

-- Has somebody look at the inbox: the living owner, or else this worker as the new one, or else the next that scans.
-- Answers with the owner's name, '' for none, and if it is new with all it needs to go on. The rest is `put`'s.
local function rouse(m, worker, mark, ttl, changed, alone, known)
  local owner = m[5] or ''
  -- this worker knows its own runner, however late it renews
  if owner ~= '' and (owner == worker or not dead(owner, '')) then
    redis.call('HSET', M, unpack(changed))
    if owner ~= worker then tell(owner, 'w ' .. S) end
    return owner
  end
  if worker == '' then
    redis.call('HSET', M, unpack(changed))
    redis.call('ZADD', DUE, now(), S)
    return ''
  end
  return worker, take(worker, mark, tonumber(ttl), m, changed, alone, known)
end

-- The Redis expiry is only a backstop, a day behind the session's own; moved at most once an hour.
-- `last` is what the session's meta holds as `kept`.
local function keep(lifetime, last)
  local until_ = now() + lifetime + 86400000
  if math.abs(until_ - tonumber(last or 0)) > 3600000 then
    redis.call('HSET', M, 'kept', until_)
    for _, kind in ipairs({ 'm', 'i', 'e', 'd', 'q', 'u', 'k', 'x', 'l', 'f' }) do
      redis.call('PEXPIREAT', key(kind), until_)
    end
  end
end
