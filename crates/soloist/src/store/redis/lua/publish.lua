-- Publishes the result of a flight: tells everybody who waits for it, and hands the key over to the next
-- who wants it as a lock. Invariant: only the current leader's result is taken.
-- KEYS  fence, lease, queue, result
-- ARGV  1 ticket; 2 kind: 0 value, 1 error; 3 keep in microseconds; 4 body; 5 the largest result in a message
-- answer {1} published, {2} stale, {3, lease or ''} refused
local state = open(1)
sweep(state)
local held, ticket, kind, keep, body = state.held, ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
if not held or ticket_of(held) ~= ticket then
  hand_over(state)
  local done = result_head(state)
  if done and done.ticket == ticket then return { 1 } end
  return { 3, state.held or '' }
end
local leader, token = holder_of(held), token_of(held)
drop_lease(state)
if is_stale(held) then
  tell(state, 1, leader, token)
  hand_over(state)
  return { 2 }
end
tell(state, 5 + kind, leader, token)
local result = struct.pack('>c16Bddd', ticket, kind, token, now, now + keep) .. text(leader) .. body

-- Those who wait for the result leave the line, and each session is told once.
local line = redis.call('LRANGE', state.queue, 0, -1)
local locks, sessions, tickets = {}, {}, {}
for i = 1, #line do
  local waiter = line[i]
  if is_flight(waiter) then
    local session = session_of(waiter)
    if not tickets[session] then
      tickets[session] = {}
      sessions[#sessions + 1] = session
    end
    table.insert(tickets[session], ticket_of(waiter))
  else
    locks[#locks + 1] = waiter
  end
end
if #sessions > 0 then
  redis.call('DEL', state.queue)
  for i = 1, #locks do redis.call('RPUSH', state.queue, locks[i]) end
  if #locks > 0 then redis.call('PEXPIRE', state.queue, DAY) end
end
redis.call('SET', state.result, result, 'PX', num(math.ceil(math.max(keep, RESULT_GRACE) / 1000)))
local small = #body <= tonumber(ARGV[5])
for i = 1, #sessions do
  local session = sessions[i]
  local to = struct.pack('>I4', #tickets[session]) .. table.concat(tickets[session])
  wake(session, small and ('D' .. to .. result) or ('K' .. to))
end
hand_over(state)
return { 1 }
