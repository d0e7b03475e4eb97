-- Ends a lease and hands the key over. A holder is told when its lease is ended by anybody else.
-- KEYS  fence, lease, queue
-- ARGV  1 ticket and session: whose lease is meant, and who asks; 2 'T' that of the ticket; 'H' and a name: that of
--       this holder; 'A' whoever's it is; '' none, since this may have been carried out before
-- answer the token of the lease that ended, or the lease of another, or ''
held = redis.call('GET', lease)
-- One for who watches, two for who waits.
local others = redis.call('EXISTS', WATCHED, queue, queue)
watched = others % 2 == 1
if held and others < 2 and ARGV[2] == 'T' and string.sub(held, 8, 31) == ARGV[1] then
  --- needs alive
  if alive then
    --- took end
    local with = struct.unpack('>I7', held, 32)
    redis.call('DEL', lease)
    if watched then
      --- needs clock, tell
      tell(event(1, held))
    end
    return with
  end
end

--- needs clock, late, tell, lease, grant
--- took release
look()
local who = string.sub(ARGV[2], 1, 1)
-- Invariant: only a ticket names one lease. What is held when the question comes again may be the next one's.
local meant = held and (who == 'A' or (who == 'T' and ticket == string.sub(ARGV[1], 1, 16))
  or (who == 'H' and holder_of(held) == string.sub(ARGV[2], 2)))
if not meant then
  if not held then hand_over(nil, others > 1) end
  return held or ''
end
local mine, by, with = held, session, token
local ended = watched and event(who == 'A' and 4 or 1, mine)
held = false
if who ~= 'T' or by ~= string.sub(ARGV[1], 17) then wake_lost(mine, '\0') end
-- The next one's lease takes the place of this one, and needs hardly more memory.
if not hand_over(nil, others > 1, ended) then
  redis.call('DEL', lease)
  if ended then tell(ended) end
end
return with
