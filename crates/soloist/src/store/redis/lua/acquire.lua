-- Asks for a key. Asking again with the same ticket changes nothing but the life of its own lease.
-- KEYS  fence, lease, queue, result
-- ARGV  1 the waiter, packed; 2 mode: T try, L line, F force; 3 the token of the leader it has seen, or -1;
--       4 the place at which this ticket may stand in line, -1 somewhere, 0 it does not; 5 the longest line to
--       join, or -1
-- answer {1, now, token, ttl, tokens} granted; {2, now, place, lease, session ahead or ''} queued;
--        {3, now, lease} busy; {4, now, result} done; {5, now, lease, waiting} the line is full;
--        {6, now, how long still} nothing is granted yet
local state = open(1)
sweep(state)
local waiter, mode, seen, place = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local ticket, ttl = ticket_of(waiter), ttl_of(waiter)

if state.held and ticket_of(state.held) == ticket then
  local deadline = -1
  if ttl >= 0 then deadline = now + ttl end
  write_lease(state, string.sub(state.held, 1, 51) .. struct.pack('>d', deadline) .. string.sub(state.held, 60))
  return { 1, now, token_of(state.held), ttl, tokens_of(state.held) }
end

if is_flight(waiter) and mode ~= 'F' then
  local done = result_head(state)
  if done and (done.till > now or (seen >= 0 and seen <= done.token)) then
    step_out(state, ticket, place)
    local result = redis.call('GET', state.result)
    hand_over(state)
    return { 4, now, result }
  end
end

if mode == 'F' or not state.held then
  local left = guard_left()
  if left > 0 then return { 6, now, left } end
end

if mode == 'F' then
  step_out(state, ticket, place)
  local before, token, tokens = state.held, next_token(state, waiter)
  -- Free first and grow after: what was held may be taken over even when memory is out.
  if before then drop_lease(state) end
  grant(state, waiter, ttl, token, tokens)
  local by = holder_of(state.held)
  if before then
    tell(state, 3, by, token, holder_of(before))
    wake_lost(before, '\1' .. text(by))
  else
    tell(state, 0, by, token)
  end
  return { 1, now, token, ttl, tokens }
end

local token, granted, tokens = hand_over(state, ticket)
if token then return { 1, now, token, granted, tokens } end

if not state.held then
  -- Free, and nobody alive is waiting: the line is empty, so nobody is overtaken.
  token, tokens = next_token(state, waiter)
  grant(state, waiter, ttl, token, tokens)
  tell(state, 0, holder_of(state.held), token)
  return { 1, now, token, ttl, tokens }
end

if mode == 'T' then return { 3, now, state.held } end

local at = find(state, ticket, place)
if not at then
  local most = tonumber(ARGV[5])
  if most >= 0 then
    local waiting = redis.call('LLEN', state.queue)
    if waiting >= most then return { 5, now, state.held, waiting } end
  end
  at = redis.call('RPUSH', state.queue, waiter) - 1
end
-- A line that everybody has left for good is forgotten after a day; each look of a waiter keeps it.
redis.call('PEXPIRE', state.queue, DAY)
local ahead = ''
if at > 0 then
  ahead = session_of(redis.call('LINDEX', state.queue, at - 1))
elseif is_bound(state.held) then
  ahead = session_of(state.held)
end
return { 2, now, at + 1, state.held, ahead }
