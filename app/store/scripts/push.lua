#!lua
-- Keeps an input that comes from outside every connection, once for each idempotency key.
-- ARGV: user or '' (whoever's session it is), kind, body, checksum, turn or '', message or '', idempotency key,
--       how long that counts (ms), worker or '' (takes no lease), mark, lease (ms),
--       inbox size, inbox bytes, most idempotency keys
local user, kind, body, sum, turn, message, name, lifetime, worker, mark, ttl = unpack(ARGV, 1, 11)
local size, bytes, most = unpack(ARGV, 12, 14)
local m = meta()
if not m[1] then return { 'missing' } end
if user ~= '' and m[7] ~= user then return { 'forbidden' } end
if m[6] then return { 'ended' } end
local D, field = key('d'), 'idem/' .. name
local owner = m[5] or ''

local record = redis.call('HGET', D, field)
if record then
  local expiry, kept, index, id = string.match(record, '^(%d+) (%x*) (%d+) (.*)$')
  if tonumber(expiry) > now() then
    if kept ~= sum then return { 'conflict' } end
    return { 'duplicate', index, id, owner }
  end
end
local limit = full(m, kind, body, size, bytes)
if limit then return { 'busy', limit } end

-- Past the bound the tenth of the keys that would expire first is forgotten, those that have expired among them.
if not record and redis.call('HINCRBY', D, '#idem', 1) > tonumber(most) then
  local records, all = {}, redis.call('HGETALL', D)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 5) == 'idem/' then
      records[#records + 1] = { all[i], tonumber(string.match(all[i + 1], '^%d+')) }
    end
  end
  table.sort(records, function(a, b) return a[2] < b[2] end)
  local left = math.floor(most * 0.9)
  for i = 1, #records - left do redis.call('HDEL', D, records[i][1]) end
  redis.call('HSET', D, '#idem', left + 1)
end
local index, changed, alone = put(m, kind, body, turn, message)
local id = turn ~= '' and turn or message
redis.call('HSET', D, field, now() + lifetime .. ' ' .. sum .. ' ' .. index .. ' ' .. id)
return { 'ok', index, id, rouse(m, worker, mark, ttl, changed, alone) }
