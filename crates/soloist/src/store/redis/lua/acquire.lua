-- Asks for a key. Asking again with the same ticket changes nothing but the life of its own lease.
-- KEYS  fence, lease, queue; for a flight, result
-- ARGV  1 ticket and session; 2 flags, tokens, holder and note; 3 the ttl and a minute in milliseconds, or '' for a flight,
--       a ttl that is not whole milliseconds or has no end, several tokens, force, and whoever may stand in line;
--       4 packed: mode (T try, L line, F force), ttl, the longest line to join, the place at which this ticket may stand
--       in line (from 1, 0 it does not, NEVER somewhere), and 1 more than the token of the leader it has seen, or 0
-- answer now: granted with this token for the whole ttl; {1, now, token, ttl, tokens} granted;
--        'Q' now, place in 4 bytes, lease: queued; {3, now, lease} busy; {4, now, result} done;
--        {5, now, lease, waiting} the line is full; {6, now, how long still} nothing is granted yet
--- needs clock, late
local waiting, others = 0, redis.call('EXISTS', lease, queue, WATCHED)
held, watched = false, false
if others > 0 then
  held = redis.call('GET', lease)
  -- Another's, and no plain acquire's, which has to know of a line.
  if held and ARGV[3] ~= '' and string.byte(ARGV[4]) == 76 and #held > 49 and string.byte(held, 46) % 8 < 4 then
    deadline, ticket = struct.unpack('>I7c16', held)
    if deadline > now and deadline <= NEVER and ticket ~= string.sub(ARGV[1], 1, 16) then
      local waiter = string.sub(ARGV[4], 2, 8) .. ARGV[1] .. ARGV[2]
      local at = redis.call('RPUSH', queue, waiter)
      if at <= struct.unpack('>I7', ARGV[4], 9) then
        --- took place
        if at == 1 then redis.call('PEXPIRE', queue, DAY) end
        return struct.pack('>c1I7I4', 'Q', now, at) .. held
      end
      redis.call('LREM', queue, '-1', waiter)
    end
  end
  waiting = redis.call('LLEN', queue)
  watched = others > (held and 1 or 0) + math.min(waiting, 1)
end

if ARGV[3] ~= '' and not held and waiting == 0 and not GUARD then
  -- Where that is refused (no counter yet, a clock that was set back, a full memory) the long way knows what may be done.
  if redis.pcall('ZADD', fence, 'XX', 'GT', 'CH', stamp, watched and 'w' or 't') == 1 then
    --- took grant
    local record = struct.pack('>I7c24I7I7', now + 1000 * ARGV[3] - MINUTE, ARGV[1], now, now) .. ARGV[2]
    redis.call('SET', lease, record, 'PX', ARGV[3])
    if watched then
      --- needs tell
      tell(event(0, record))
    end
    return now
  end
  --- took no-grant
end

local mode, ttl, most, place, seen = struct.unpack('>c1I7I7I7I7', ARGV[4])
if place == NEVER then place = -1 end

--- needs tell, lease, grant, line, result
--- took acquire
look()
local own = string.sub(ARGV[1], 1, 16)

if held and ticket == own then
  if string.byte(held, 46) > 7 then
    -- Of a plain acquire: whether its token counts is not known, and nobody was told it.
    local with, tokens = next_tokens(1)
    local record = lease_of(ARGV[1], ARGV[2], ttl, with, tokens)
    write(redis.pcall, record, ttl)
    tell(event(0, record))
    return { 1, now, with, ttl, tokens }
  end
  prolong(ttl)
  return { 1, now, token, ttl, tokens_of(held) }
end

if result and mode ~= 'F' then
  local done = result_head()
  if done and (done.till > now or (seen > 0 and seen - 1 <= done.token)) then
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
  local _, with, granted, tokens = hand_over(own, waiting > 0)
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
  if waiting >= most then return { 5, now, held, waiting } end
  at = redis.call('RPUSH', queue, string.sub(ARGV[4], 2, 8) .. ARGV[1] .. ARGV[2]) - 1
end
-- Invariant: whoever stands in line is known to the lease, so its release looks at the line.
if string.byte(held, 46) % 8 > 3 then
  --- needs known
  known(redis.pcall)
end
-- A line that everybody has left for good is forgotten after a day; each look of a waiter keeps it.
redis.call('PEXPIRE', queue, DAY)
return struct.pack('>c1I7I4', 'Q', now, at + 1) .. held
