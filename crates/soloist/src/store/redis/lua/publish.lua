-- Publishes the result of a flight: tells everybody who waits for it, and hands the key over to the next
-- who wants it as a lock. Invariant: only the current leader's result is taken.
-- KEYS  fence, lease, queue, result
-- ARGV  1 ticket; 2 kind: 0 value, 1 error; 3 keep in microseconds; 4 body; 5 the largest result in a message
-- answer {1} published, {2} stale, {3, lease or ''} refused
--- needs clock, late, tell, lease, grant, result
look()
local kind, keep, body = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
if not held or ticket ~= ARGV[1] then
  if not held then hand_over() end
  local done = result_head()
  if done and done.ticket == ARGV[1] then return { 1 } end
  return { 3, held or '' }
end
local ended, by = held, token
drop()
if string.byte(ended, 46) % 4 > 1 then
  tell(event(1, ended))
  hand_over()
  return { 2 }
end
tell(event(5 + kind, ended))
local done = struct.pack('>c16BI7I7I7', ticket, kind, by, now, now + keep) .. text(holder_of(ended)) .. body

-- Those who wait for the result leave the line, and each session is told once.
local line = redis.call('LRANGE', queue, '0', '-1')
local locks, sessions, tickets = {}, {}, {}
for i = 1, #line do
  local whose, to, flags = struct.unpack('>c16c8B', line[i], 8)
  if flags % 2 == 1 then
    if not tickets[to] then
      tickets[to] = {}
      sessions[#sessions + 1] = to
    end
    table.insert(tickets[to], whose)
  else
    locks[#locks + 1] = line[i]
  end
end
if #sessions > 0 then
  redis.call('DEL', queue)
  for i = 1, #locks do redis.call('RPUSH', queue, locks[i]) end
  if #locks > 0 then redis.call('PEXPIRE', queue, DAY) end
end
local life = math.ceil(math.max(keep, RESULT_GRACE) / 1000)
redis.call('SET', result, done, 'PX', string.format('%.0f', life))
local small = #body <= tonumber(ARGV[5])
for i = 1, #sessions do
  local to = sessions[i]
  local told = struct.pack('>I4', #tickets[to]) .. table.concat(tickets[to])
  wake(to, small and ('D' .. told .. done) or ('K' .. told))
end
hand_over()
return { 1 }
