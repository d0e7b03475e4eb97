-- Stands in front of every verb: one key's state, and the steps that verbs share. It follows
-- protocol/key_state.rs, in the same order of effects; a change there is a change here.
--
-- What is stored, all of it packed big-endian, names as length and bytes:
--   lease   ticket 16, session 16, want 1, bound 1, stale 1, token 8, since 8, deadline 8, holder, note
--   waiter  ticket 16, session 16, want 1, bound 1, ttl 8, holder, note
--   result  ticket 16, kind 1, token 8, at 8, until 8, leader, body
-- Numbers are doubles, exact below 2^53; -1 is "never". want: 0 lock, 1 flight. kind: 0 value, 1 error. In the byte
-- "bound", twice the number of tokens beyond the first is added.
-- (`now`, HANDOVER_TTL, RESULT_GRACE, TOKENS_AHEAD and GUARD, false or the longest ttl, are set before this file.)

-- Invariant: what would do harm when it is late is not carried out after its caller has given it up. The last
-- argument of every verb is the time until which it is wanted, or -1; after that nothing is changed.
local wanted = tonumber(ARGV[#ARGV])
if wanted >= 0 and now > wanted then return redis.error_reply('TOOLATE ' .. string.format('%.0f', now)) end

local NAME_AT = 18 -- where the user's key begins in 'soloist:1:{00}:l:KEY'
local DAY = 86400000
local EPOCH = 'soloist:1:epoch' -- 'RUN SINCE': since when this run of the server is known to lose nothing

local function num(n) return string.format('%.0f', n) end
local function text(s) return struct.pack('>I2', #s) .. s end
local function ticket_of(packed) return string.sub(packed, 1, 16) end
local function session_of(packed) return string.sub(packed, 17, 32) end
local function is_flight(packed) return string.byte(packed, 33) == 1 end
local function is_bound(packed) return string.byte(packed, 34) % 2 == 1 end
local function tokens_of(packed) return math.floor(string.byte(packed, 34) / 2) + 1 end
local function is_stale(lease) return string.byte(lease, 35) == 1 end
local function token_of(lease) return (struct.unpack('>d', lease, 36)) end
local function deadline_of(lease) return (struct.unpack('>d', lease, 52)) end
local function holder_of(lease) return (struct.unpack('>I2c0', lease, 60)) end
local function ttl_of(waiter) return (struct.unpack('>d', waiter, 35)) end

-- The state of the key whose names begin at KEYS[i]: fence, lease, queue and, where a verb needs it, result.
local function open(i)
  local lease = KEYS[i + 1]
  return {
    fence = KEYS[i], lease = lease, queue = KEYS[i + 2], result = KEYS[i + 3],
    key = string.sub(lease, NAME_AT), held = redis.call('GET', lease)
  }
end

-- Tells those who watch. kind: 0 locked, 1 released, 2 expired, 3 taken over, 4 broken, 5 published,
-- 6 failed, 7 forgotten.
local function tell(state, kind, holder, token, from)
  local event = struct.pack('>c1Bdd', 'E', kind, token, now) .. text(state.key) .. text(holder) .. text(from or '')
  redis.call('PUBLISH', 'soloist:1:events', event)
end

-- Tells a session; answers how many hear it.
local function wake(session, message)
  return redis.call('PUBLISH', 'soloist:1:s:' .. session, message)
end

-- Tells a holder that this lease of his has ended, and how.
local function wake_lost(lease, how)
  wake(session_of(lease), 'L' .. ticket_of(lease) .. string.sub(lease, 36, 43) .. how)
end

-- Writes a lease. It outlives its deadline by a minute, so that a later touch can tell that it expired.
local function write_lease(state, lease)
  local deadline = deadline_of(lease)
  local set = { 'SET', state.lease, lease }
  if deadline >= 0 then
    set[4], set[5] = 'PX', num(math.ceil(math.max(deadline - now, 0) / 1000) + 60000)
  end
  local done = redis.pcall(unpack(set))
  if type(done) == 'table' and done.err then
    -- Out of memory: a script that has written already may go on, so the first write is one that needs no
    -- memory. Only a lease that is there gets here: a new one fails at its counter, before this.
    redis.call('PEXPIRE', state.lease, DAY)
    redis.call(unpack(set))
  end
  state.held = lease
end

local function drop_lease(state)
  redis.call('DEL', state.lease)
  state.held = false
end

-- As many tokens in a row as the waiter asks for, or one: the first of them, and how many.
-- Invariant: a key's tokens never decrease, also across expiry, force and a server that lost its data. So they are taken
-- from the time that has passed, and where too little has, there is only one.
local function next_token(state, waiter)
  local before, tokens = tonumber(redis.call('GET', state.fence) or '0'), tokens_of(waiter)
  local last = math.max(before + tokens, now)
  if tokens > 1 and last > now + TOKENS_AHEAD then
    tokens, last = 1, math.max(before + 1, now)
  end
  return last - tokens + 1, tokens
end

-- How long nothing may be granted here yet, in microseconds: on a server that may have lost its data (another run of
-- it, or its epoch is gone) until every lease of before has ended. 0 without a boot guard.
-- Invariant: whatever makes a holder of somebody else than the holder asks this first.
local function guard_left()
  if not GUARD then return 0 end
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or '-'
  local known, since = string.match(redis.call('GET', EPOCH) or '', '^(%S+) (%d+)$')
  since = tonumber(since)
  if known ~= run or since > now then
    since = now
    -- Without memory for it, it begins anew each time: nothing is granted then in any case.
    redis.pcall('SET', EPOCH, run .. ' ' .. num(now))
  end
  return math.max(since + GUARD - now, 0)
end

-- Makes a waiter the holder.
local function grant(state, waiter, ttl, token, tokens)
  local deadline = -1
  if ttl >= 0 then deadline = now + ttl end
  redis.call('SET', state.fence, num(token + tokens - 1))
  local bound = string.byte(waiter, 34) % 2 + 2 * (tokens - 1)
  write_lease(state, string.sub(waiter, 1, 33) .. struct.pack('>BBddd', bound, 0, token, now, deadline)
    .. string.sub(waiter, 43))
end

-- Drops a lease past its deadline.
local function sweep(state)
  local held = state.held
  if held then
    local deadline = deadline_of(held)
    if deadline >= 0 and deadline <= now then
      drop_lease(state)
      tell(state, 2, holder_of(held), token_of(held))
    end
  end
end

-- Hands the key to the next waiter who lives, if it is free. A wake-up that nobody hears shows that the
-- waiter is gone. The asker is alive for certain and hears its grant as the answer: its token, ttl and number of tokens.
local function hand_over(state, asker)
  -- To pop is to write, even from an empty line; and where nothing is written before, a full memory refuses
  -- the new lease, as it should.
  if state.held or redis.call('LLEN', state.queue) == 0 or guard_left() > 0 then return false end
  while not state.held do
    local waiter = redis.call('LPOP', state.queue)
    if not waiter then return false end
    local ticket, ttl = ticket_of(waiter), ttl_of(waiter)
    local token, tokens = next_token(state, waiter)
    if ticket == asker then
      grant(state, waiter, ttl, token, tokens)
      tell(state, 0, holder_of(state.held), token)
      return token, ttl, tokens
    end
    if ttl < 0 or ttl > HANDOVER_TTL then ttl = HANDOVER_TTL end
    local message = struct.pack('>c1c16ddd', 'G', ticket, token, now, ttl)
    -- Only who asks for several tokens knows of such a message.
    if tokens > 1 then message = message .. string.char(tokens) end
    if wake(session_of(waiter), message) > 0 then
      grant(state, waiter, ttl, token, tokens)
      tell(state, 0, holder_of(state.held), token)
    end
  end
  return false
end

-- Looks for a ticket in the line from one index to another, from the back to the front.
local function search(state, ticket, first, last)
  local count = 4
  while last >= first do
    local from = math.max(last - count + 1, first)
    local some = redis.call('LRANGE', state.queue, from, last)
    for i = #some, 1, -1 do
      if ticket_of(some[i]) == ticket then return from + i - 1, some[i] end
    end
    last, count = from - 1, 128
  end
  return false
end

-- Finds a ticket in the line: its index from 0, and its entry. `place` is where it stood when last seen, from 1;
-- -1 where that is not known, 0 if it never stood there. Places only shrink while one stands in line, so it is
-- looked for from there to the front, at the same cost in a long line as in a short one; then behind, where it
-- is if it lost its place and joined again, and the answer to that was lost.
local function find(state, ticket, place)
  if place == 0 then return false end
  if place > 0 then
    local at, entry = search(state, ticket, 0, place - 1)
    if at then return at, entry end
  end
  return search(state, ticket, math.max(place, 0), redis.call('LLEN', state.queue) - 1)
end

-- Takes a ticket out of the line; answers whether it stood there.
local function step_out(state, ticket, place)
  local at, entry = find(state, ticket, place)
  if not at then return false end
  -- From the end that is nearer.
  local side = 1
  if at > redis.call('LLEN', state.queue) / 2 then side = -1 end
  redis.call('LREM', state.queue, side, entry)
  return true
end

-- Whether the current lease is the one that is meant: 'T' and a ticket, 'H' and a holder, or 'A' for any.
local function is_meant(state, who)
  if not state.held then return false end
  local kind = string.sub(who, 1, 1)
  if kind == 'T' then return ticket_of(state.held) == string.sub(who, 2) end
  if kind == 'H' then return holder_of(state.held) == string.sub(who, 2) end
  return true
end

-- The head of the result, if there is one that is not yet gone: ticket, kind, token, at, until, leader.
local function result_head(state)
  local head = redis.call('GETRANGE', state.result, 0, 320)
  if #head < 43 then return nil end
  local ticket, kind, token, at, till, leader = struct.unpack('>c16BdddI2c0', head)
  if math.max(till, at + RESULT_GRACE) <= now then return nil end
  return { ticket = ticket, kind = kind, token = token, at = at, till = till, leader = leader }
end
