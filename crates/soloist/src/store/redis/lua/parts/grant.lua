-- Who may be made the holder, and how.

local EPOCH = SHARD .. 'epoch' -- 'RUN SINCE': since when this run of the server is known to lose nothing

-- How long nothing may be granted here yet, in microseconds: on a server that may have lost its data (another run of
-- it, or its epoch is gone) until every lease of before has ended. 0 without a boot guard.
-- Invariant: whatever makes a holder of somebody else than the holder asks this first.
local function guard_left()
  if not GUARD then return 0 end
  local run = this_run()
  local known, since = string.match(redis.call('GET', EPOCH) or '', '^(%S+) (%d+)$')
  since = tonumber(since)
  if known ~= run or since > now then
    since = now
    -- Without memory for it, it begins anew each time: nothing is granted then in any case.
    redis.pcall('SET', EPOCH, run .. ' ' .. string.format('%.0f', now))
  end
  return math.max(since + GUARD - now, 0)
end

-- The last token that was given before, as far as is known: whoever turns out to be gone takes none. And under which
-- member it stands.
local before, member

-- Invariant: while somebody watches, no token is given but by a script, which tells: a plain acquire counts on only where
-- it finds the member 't'.
local function open_member()
  if watched == nil then watched = redis.call('EXISTS', WATCHED) == 1 end
  return watched and 'w' or 't'
end

local function last_token()
  if not before then
    local counter = redis.call('ZRANGE', fence, '0', '0', 'WITHSCORES')
    member, before = counter[1], tonumber(counter[2] or '0')
  end
  return before
end

-- Writes the last token that was given.
local function count_to(last)
  local open = open_member()
  if member and member ~= open then redis.call('DEL', fence) end
  redis.call('ZADD', fence, last == now and stamp or string.format('%.0f', last), open)
  member = open
end

-- As many tokens in a row as are asked for, or one: the first of them, and how many. They are written before any lease: where the memory is full, a new lease fails here.
-- Invariant: a key's tokens never decrease, also across expiry, force and a server that lost its data. So they are taken
-- from the time that has passed, and where too little has, there is only one.
local function next_tokens(wanted)
  if wanted == 1 and not before
    and redis.call('ZADD', fence, 'XX', 'GT', 'CH', stamp, open_member()) == 1 then
    -- The common case. What was given before is less; how much less, only somebody behind who wants several could use.
    before, member = now - 1, open_member()
    return now, 1
  end
  local last = math.max(last_token() + wanted, now)
  if wanted > 1 and last > now + TOKENS_AHEAD then
    wanted, last = 1, math.max(before + 1, now)
  end
  count_to(last)
  return last - wanted + 1, wanted
end

-- The lease of whoever this ticket and session are, with these tokens and the rest of what it has, from now on.
local function lease_of(whose, rest, ttl, with, tokens)
  if tokens ~= string.byte(rest, 2) then
    rest = string.sub(rest, 1, 1) .. string.char(tokens) .. string.sub(rest, 3)
  end
  return struct.pack('>I7c24I7I7', math.min(now + ttl, NEVER), whose, with, now) .. rest
end

-- Hands the key over to the next waiter who lives; nobody may hold it. A wake-up that nobody hears shows that the
-- waiter is gone. The asker is alive for certain and hears its grant as the answer. `waiting`: whether anybody waits, if
-- that is known. `ended`: how the lease before ended, to be told in one message with whose is the next; otherwise that is
-- the caller's. Answers whether somebody holds the key, and if it is the asker its token, ttl and number of tokens.
local function hand_over(asker, waiting, ended)
  -- To pop is to write, even from an empty line; and where nothing is written before, a full memory refuses
  -- the new lease, as it should.
  if waiting == nil then waiting = redis.call('LLEN', queue) > 0 end
  if not waiting or guard_left() > 0 then return false end
  while true do
    local waiter = redis.call('LPOP', queue)
    if not waiter then return false end
    local ttl, whose = struct.unpack('>I7c24', waiter)
    local asks = asker and string.sub(whose, 1, 16) == asker
    if not asks and ttl > HANDOVER_TTL then ttl = HANDOVER_TTL end
    local rest = string.sub(waiter, 32)
    local with, tokens = next_tokens(string.byte(rest, 2))
    local record = lease_of(whose, rest, ttl, with, tokens)
    if asks or wake(string.sub(whose, 17), 'G' .. record) > 0 then
      write(redis.call, record, ttl)
      if watched ~= false then
        local locked = event(0, record)
        if ended then locked = struct.pack('>c1I4', 'B', #ended) .. ended .. locked end
        tell(locked)
      end
      return true, asks and with, ttl, tokens
    end
  end
end
