-- Asks for a key. Asking again with the same ticket changes nothing but the life of its own lease.
-- KEYS  fence, lease, queue; for a flight, result
-- ARGV  1 ticket and session; 2 flags, tokens, holder and note; 3 ttl; 4 mode: T try, L line, F force; 5 the longest line to
--       join; 6 the ttl and a minute in milliseconds, or '' for a flight, a lease without an end or with several tokens,
--       force, and whoever may stand in line; and if that is '': 7 the place at which this ticket may stand in line, -1 somewhere,
--       0 it does not; 8 the token of the leader it has seen, or -1
-- answer now: granted with this token for the whole ttl; {1, now, token, ttl, tokens} granted;
--        'Q' now, place in 4 bytes, lease: queued; {3, now, lease} busy; {4, now, result} done;
--        {5, now, lease, waiting} the line is full; {6, now, how long still} nothing is granted yet
--- needs late
local waiting = redis.call('LLEN', queue)

-- Joins the line, or stands there at this index.
local function stand(at)
  if not at then
    at = redis.call('RPUSH', queue, struct.pack('>I7', ARGV[3]) .. ARGV[1] .. ARGV[2]) - 1
  end
  return struct.pack('>c1I7I4', 'Q', now, at + 1) .. held
end

if ARGV[6] ~= '' then
  if waiting == 0 and not GUARD then
    local record = struct.pack('>I7c24I7I7', now + ARGV[3], ARGV[1], now, now) .. ARGV[2]
    local done = redis.pcall('SET', lease, record, 'NX', 'PX', ARGV[6])
    -- False where it is not free; and in a full memory the long way knows what may be done all the same.
    if done and done.ok then
      local last = redis.call('SET', fence, now, 'GET')
      if not last or tonumber(last) < now then
        --- took grant
        tell(event(0, record))
        return now
      end
      --- took no-grant
      -- The clock was set back: all of it is undone, and done the long way.
      redis.call('SET', fence, last)
      redis.call('DEL', lease)
    end
  elseif waiting > 0 and ARGV[4] == 'L' and waiting < tonumber(ARGV[5]) then
    held = redis.call('GET', lease)
    if held then
      deadline, ticket = struct.unpack('>I7c16', held)
      -- Another's, and the line is there already, with a life of its own.
      if deadline > now and deadline <= NEVER and ticket ~= string.sub(ARGV[1], 1, 16) then
        --- took place
        return stand()
      end
    end
  end
end

--- needs lease, grant, line, result
--- took acquire
look()
local own, ttl, mode = string.sub(ARGV[1], 1, 16), tonumber(ARGV[3]), ARGV[4]
local place, seen = 0, -1
if ARGV[6] == '' then place, seen = tonumber(ARGV[7]), tonumber(ARGV[8]) end

if held and ticket == own then
  prolong(ttl)
  return { 1, now, token, ttl, tokens_of(held) }
end

if result and mode ~= 'F' then
  local done = result_head()
  if done and (done.till > now or (seen >= 0 and seen <= done.token)) then
    step_out(own, place)
    local body = redis.call('GET', result)
    if not held then hand_over() end
    return { 4, now, body }
  end
end

if mode == 'F' or not held then
  local left = guard_left()
  if left > 0 then return { 6, now, left } end
end

if mode == 'F' then
  step_out(own, place)
  local taken = held
  -- Free first and grow after: what was held may be taken over even when memory is out.
  if taken then drop() end
  local with, tokens = next_tokens(string.byte(ARGV[2], 2))
  local record = lease_of(ARGV[1], ARGV[2], ttl, with, tokens)
  write(redis.call, record, ttl)
  if taken then
    tell(event(3, record, text(holder_of(taken))))
    wake_lost(taken, '\1' .. text(holder_of(record)))
  else
    tell(event(0, record))
  end
  return { 1, now, with, ttl, tokens }
end

if not held then
  local _, with, granted, tokens = hand_over(own, waiting)
  if with then return { 1, now, with, granted, tokens } end
end

if not held then
  -- Free, and nobody alive is waiting: the line is empty, so nobody is overtaken.
  local with, tokens = next_tokens(string.byte(ARGV[2], 2))
  local record = lease_of(ARGV[1], ARGV[2], ttl, with, tokens)
  write(redis.call, record, ttl)
  tell(event(0, record))
  return { 1, now, with, ttl, tokens }
end

if mode == 'T' then return { 3, now, held } end

local at = find(own, place)
if not at then
  waiting = redis.call('LLEN', queue)
  if waiting >= tonumber(ARGV[5]) then return { 5, now, held, waiting } end
end
local said = stand(at)
-- A line that everybody has left for good is forgotten after a day; each look of a waiter keeps it.
redis.call('PEXPIRE', queue, DAY)
return said
