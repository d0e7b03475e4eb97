-- Stands in front of every verb: the key at hand. The scripts follow protocol/key_state.rs, with the same effects in
-- the same order; a change there is a change here. (`now`, HANDOVER_TTL and such a lease's life in
-- milliseconds, RESULT_GRACE, TOKENS_AHEAD, MOVE_GRACE, GUARD, false or the longest ttl, and CLUSTER are set before this file. A line `--- needs a, b` in a verb is where parts/a.lua and parts/b.lua stand: what
-- comes before is the short way, for the common case, which does not pay for the functions that it does not call. A
-- line `--- took a` is for tests, which count how often each way is gone.)
--
-- What is stored, all of it packed big-endian, numbers in 7 bytes, names as 2 bytes of length and themselves:
--   lease   deadline, ticket 16, session 8, token, since, flags 1, tokens 1, holder, and the note up to the end
--   waiter  ttl, ticket 16, session 8, flags 1, tokens 1, holder, and the note up to the end
--   result  ticket 16, kind 1, token, at, until, leader, and the body up to the end
-- Numbers are whole and at most NEVER, so exact as doubles. flags: 1 a flight, 2 forgotten under way.
-- tokens: how many it has, or asks for, in a row.
-- kind: 0 value, 1 error.
local NEVER = 9007199254740992
local DAY = 86400000
local fence, lease, queue, result = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
-- In a cluster all names of a call share a shard, and whatever else is needed has to be in its slot.
local SHARD = CLUSTER and string.sub(KEYS[1], 1, 15) or 'soloist:1:' -- 'soloist:1:{00}:'
-- The lease and what stands in it: false, nobody holds the key; nil, it was not looked at yet.
local held, deadline, ticket, session, token

-- What there is to tell of a lease. kind: 0 locked, 1 released, 2 expired, 3 taken over from whom `from` says,
-- 4 broken, 5 published, 6 failed, 7 forgotten.
local function event(kind, of, from)
  return struct.pack('>c1BI7I2', 'E', kind, now, #lease) .. lease .. (from or '') .. string.sub(of, 32)
end

-- Tells those who watch.
local function tell(told)
  if CLUSTER then
    redis.call('SPUBLISH', SHARD .. 'e', told)
  else
    redis.call('PUBLISH', 'soloist:1:events', told)
  end
end
