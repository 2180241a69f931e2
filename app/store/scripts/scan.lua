#!lua flags=allow-oom
-- What there is to take up in a partition. KEYS: the partition's due index.
-- ARGV: worker, lease (ms), most sessions, then workers known to be dead
local worker, ttl, most = unpack(ARGV, 1, 3)
local due = KEYS[1]
tag = string.match(due, '^({p%d+})') -- this script's key is no meta, from which it is derived elsewhere
local W = workers()
local time = now()
local known = {}
for i = 4, #ARGV do known[ARGV[i]] = true end
local sessions, deadlines = {}, {}
-- a death makes every session of that worker due; one that is owned waits for no longer than a lease
local till = #ARGV > 3 and time + ttl or time
for _, session in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', till, 'WITHSCORES')) do
  sessions[#sessions + 1] = session
end
local found = {}
for i = 1, #sessions, 2 do
  if #found >= tonumber(most) then break end
  local session, at = sessions[i], tonumber(sessions[i + 1])
  local owner = redis.call('HGET', tag .. ':m:' .. session, 'owner')
  if not owner or owner == '' then
    if at <= time then found[#found + 1] = session end
  elseif known[owner] or (at <= time and owner ~= worker and dead(owner, '')) then
    found[#found + 1] = session
  elseif at <= time then
    -- its owner lives: look again when its lease might be over; and this worker whether it runs it indeed, for a
    -- store that lost a tail may hold it for ours when we had given it up
    redis.call('ZADD', due, owner == worker and time + ttl or redis.call('ZSCORE', W, owner), session)
    if owner == worker then found[#found + 1] = session end
  end
end
for i, value in ipairs(redis.call('ZRANGE', W, 0, -1, 'WITHSCORES')) do
  if i % 2 == 1 then deadlines[#deadlines + 1] = value else deadlines[#deadlines + 1] = tonumber(value) - time end
end
-- a dead worker is forgotten once it has nothing left: an owner that is not listed counts as dead
if #found == 0 then
  for worker_known in pairs(known) do redis.call('ZREM', W, worker_known) end
end
redis.call('ZREMRANGEBYSCORE', W, '-inf', time - 60000)
return { found, deadlines }
