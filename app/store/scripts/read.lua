#!lua flags=allow-oom
-- A page of the log after a position; with a worker it also attaches that worker and a client of the session's user.
-- ARGV: seq, mark, most entries, most bytes, worker or '', user, client
local seq, mark, most, most_bytes, worker, user, client = unpack(ARGV)
seq = tonumber(seq)
local m = redis.call('HMGET', M, 'user', 'agent', 'seq', 'mark', 'floor', 'floor_mark', 'ended', 'profile')
if not m[1] then return { 'missing' } end
if m[7] then return { 'ended' } end
local acked = ''
if worker ~= '' then
  if m[1] ~= user then return { 'forbidden' } end
  redis.call('SADD', key('l'), worker)
  local last = redis.call('HGET', key('d'), client)
  acked = last and string.match(last, '^%d+') or ''
end
local head, floor = tonumber(m[3]), tonumber(m[5])
local answer = { 'ok', m[2], m[1], head, m[4], acked, 'ok', {}, m[8] or '' }
local function differs(join)
  answer[7] = join
  return answer
end
if seq > head then return differs('ahead') end
if seq < floor then return differs('trimmed') end
if seq == floor and mark ~= m[6] then return differs('diverged') end
local entries, size = answer[8], 0
most, most_bytes = tonumber(most), tonumber(most_bytes)
local function add(last, fields)
  size = size + #fields[6]
  if #entries > 0 and (size > most_bytes or #entries == most) then return false end
  entries[#entries + 1] = { fields[2], last, fields[4], fields[6] }
  return true
end
-- the first entry holds the position itself, unless the position is the floor; a few at a time are looked at, for
-- they may be large
local from, i = math.max(seq, 1) .. '-0', 0
repeat
  local part = redis.call('XRANGE', key('e'), from, '+', 'COUNT', 16)
  for _, entry in ipairs(part) do
    local last, fields = tonumber(string.match(entry[1], '^%d+')), entry[2]
    i = i + 1
    if i == 1 and seq > floor and fields[4] ~= mark then return differs('diverged') end
    if last > seq and not add(last, fields) then return answer end
    from = '(' .. entry[1]
  end
until #part < 16
return answer
