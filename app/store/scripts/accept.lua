#!lua
-- Keeps an input and wakes the session's owner, or makes this worker its owner.
-- ARGV: client, n, kind, body, checksum, turn or '', target or '', worker or '' (takes no lease), mark, lease (ms),
--       inbox size, inbox bytes, the mark of the last lease that this worker knows of or ''

-- How many of a client's last numbers can be told from a conflict. Older ones are forgotten by the dozen.
local REMEMBERED_NUMBERS, FORGET = 64, 12
-- How many clients of a session are remembered.
local REMEMBERED_CLIENTS = 256

local client, n, kind, body, sum, turn, target, worker, mark, ttl = unpack(ARGV, 1, 10)
local size, bytes = ARGV[11], ARGV[12]
local known = not is_control(kind) and ARGV[13]
local m = meta()
if not m[1] then return { 'missing' } end
if m[6] then return { 'ended' } end
local D = key('d')
local owner = m[5] or ''

local last = redis.call('HGET', D, client)
local used = last and tonumber(string.match(last, '^%d+')) or 0
local number = client .. '/' .. n
n = tonumber(n)
if n <= used then
  local record = redis.call('HGET', D, number)
  if not record then return { 'duplicate', '', '', owner } end
  local index, kept, its_turn = string.match(record, '^(%d*) (%x*) (.*)$')
  if kept ~= sum then return { 'conflict' } end
  return { 'duplicate', index, its_turn, owner }
end
if n > used + 1 then return { 'gap', used + 1 } end

local limit = full(m, kind, body, size, bytes)
if limit then return { 'busy', limit } end

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
local index, changed, alone = '', nil, nil
if kind ~= 'cancel' or target ~= '' then index, changed, alone = put(m, kind, body, turn, target) end

-- Least recent clients are forgotten whole: the stamp behind n is the time it was last used.
if not last and redis.call('HINCRBY', D, '#', 1) > REMEMBERED_CLIENTS then
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
redis.call('HSET', D, client, ARGV[2] .. ' ' .. now(), number, index .. ' ' .. sum .. ' ' .. turn)
if n > REMEMBERED_NUMBERS and n % FORGET == 0 then
  local old = {}
  for i = 1, FORGET do old[i] = client .. '/' .. (n - REMEMBERED_NUMBERS - FORGET + i) end
  redis.call('HDEL', D, unpack(old))
end

if index == '' then return { 'ok', '', '', m[2], '' } end
return { 'ok', index, turn, m[2], rouse(m, worker, mark, ttl, changed, alone, known) }
