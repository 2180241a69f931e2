#!lua
-- Keeps an input and wakes the session's owner, or makes this worker its owner.
-- ARGV: client, n, kind, body, checksum, turn or '', target or '', worker or '' (takes no lease), mark, lease (ms),
--       inbox size, inbox bytes, bound of controls, remembered numbers a client, remembered clients
local client, n, kind, body, sum, turn, target, worker, mark, ttl = unpack(ARGV, 1, 10)
local size, bytes, controls, window, clients = unpack(ARGV, 11, 15)
n = tonumber(n)
local m = redis.call('HMGET', M, 'inputs', 'waiting', 'waiting_bytes', 'controls', 'owner', 'ended')
if not m[1] then return { 'missing' } end
if m[6] then return { 'ended' } end
local D = key('d')
local owner = m[5] or ''
local is_control = kind == 'cancel' or kind == 'answer' or kind == 'end'

local last = redis.call('HGET', D, client)
local used = last and tonumber(string.match(last, '^%d+')) or 0
if n <= used then
  local record = redis.call('HGET', D, client .. '/' .. n)
  if not record then return { 'duplicate', '', '', owner } end
  local index, kept, its_turn = string.match(record, '^(%d*) (%x*) (.*)$')
  if kept ~= sum then return { 'conflict' } end
  return { 'duplicate', index, its_turn, owner }
end
if n > used + 1 then return { 'gap', used + 1 } end

if is_control then
  if tonumber(m[4]) >= tonumber(controls) then return { 'busy', 'controls' } end
elseif tonumber(m[2]) >= tonumber(size) then
  return { 'busy', 'size' }
elseif tonumber(m[3]) + #body > tonumber(bytes) then
  return { 'busy', 'bytes' }
end

-- A cancel hits the oldest turn that is not done, decided here; with none there is nothing to keep.
if kind == 'cancel' then
  local hit = ''
  for _, input in ipairs(pending()) do
    if input[4] ~= '' and (target == '' or target == input[4]) then
      hit = input[4]
      break
    end
  end
  target = hit
end
local index = ''
if kind ~= 'cancel' or target ~= '' then
  index = tonumber(m[1]) + 1
  redis.call('XADD', key('i'), index .. '-0', 'k', kind, 'b', body, 't', turn, 'g', target)
  redis.call('HSET', M, 'inputs', index)
  if is_control then
    redis.call('HINCRBY', M, 'controls', 1)
  else
    redis.call('HSET', M, 'waiting', m[2] + 1, 'waiting_bytes', m[3] + #body)
  end
end

-- Least recent clients are forgotten whole: the stamp behind n is the time it was last used.
if not last and redis.call('HINCRBY', D, '#', 1) > tonumber(clients) then
  local oldest, stamp = nil, math.huge
  local all = redis.call('HGETALL', D)
  for i = 1, #all, 2 do
    local at = string.match(all[i + 1], '^%d+ (%d+)$')
    if at and not string.find(all[i], '/', 1, true) and tonumber(at) < stamp then
      oldest, stamp = all[i], tonumber(at)
    end
  end
  if oldest then
    for i = 1, #all, 2 do
      if string.sub(all[i], 1, #oldest + 1) == oldest .. '/' then redis.call('HDEL', D, all[i]) end
    end
    redis.call('HDEL', D, oldest)
    redis.call('HINCRBY', D, '#', -1)
  end
end
redis.call('HSET', D, client, n .. ' ' .. now(), client .. '/' .. n, index .. ' ' .. sum .. ' ' .. turn)
if n > tonumber(window) then redis.call('HDEL', D, client .. '/' .. (n - window)) end

if index == '' then return { 'ok', '', '', m[2], '' } end
if owner ~= '' and not dead(owner, '') then
  if owner ~= worker then tell(owner, 'w ' .. S) end
  return { 'ok', index, turn, m[2], owner }
end
if worker == '' then
  redis.call('ZADD', DUE, now(), S)
  return { 'ok', index, turn, m[2], '' }
end
return { 'ok', index, turn, m[2], worker, take(worker, mark, tonumber(ttl)) }
