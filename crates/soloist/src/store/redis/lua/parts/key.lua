-- Stands in front of every verb: the key at hand. The scripts follow protocol/key_state.rs, with the same effects in
-- the same order; a change there is a change here. (HANDOVER_TTL and such a lease's life in
-- milliseconds, RESULT_GRACE, TOKENS_AHEAD, MOVE_GRACE, GUARD, false or the longest ttl, and CLUSTER are set before this file. A line `--- needs a, b` in a verb is where parts/a.lua and parts/b.lua stand: what
-- comes before is the short way, for the common case, which does not pay for what it does not use. A
-- line `--- took a` is for tests, which count how often each way is gone.)
--
-- What is stored, all of it packed big-endian, numbers in 7 bytes, names as 2 bytes of length and themselves:
--   fence   a sorted set of one member, whose score is the last token of the shard: 't', or 'w' since somebody watches
--   lease   deadline, ticket 16, session 8, token, since, flags 1, tokens 1, holder, and the note up to the end
--   waiter  ttl, ticket 16, session 8, flags 1, tokens 1, holder, and the note up to the end
--   result  ticket 16, kind 1, token, at, until, leader, and the body up to the end
-- Numbers are whole and at most NEVER, so exact as doubles. flags: 1 a flight, 2 forgotten under way,
-- 4 nobody waits for it nor has renewed it, and it ends at its deadline, to the next millisecond, not a minute later;
-- 8 its token may not count (a plain acquire: plain.rs).
-- tokens: how many it has, or asks for, in a row.
-- kind: 0 value, 1 error.
local NEVER = 9007199254740992
local DAY = '86400000' -- an argument, so text: to make it of a number takes as long as the command
local MINUTE = 60000000 -- how much longer than it lives a lease stands there, so that a later touch can tell that it expired
local fence, lease, queue, result = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
-- In a cluster all names of a call share a shard, and whatever else is needed has to be in its slot.
local SHARD = CLUSTER and string.sub(KEYS[1], 1, 15) or 'soloist:1:' -- 'soloist:1:{00}:'
-- There while somebody watches.
local WATCHED = CLUSTER and SHARD .. 'watched' or 'soloist:1:watched'
-- The server's clock, once it is read, and the same as text: to make text of a number takes longer than most commands.
local now, stamp
-- The lease and what stands in it: false, nobody holds the key; nil, it was not looked at yet.
local held, deadline, ticket, session, token
-- Whether somebody watches; nil, that was not looked at, and then all is told.
local watched
