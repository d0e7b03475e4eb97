-- Ends a lease and hands the key over. A holder is told when its lease is ended by anybody else.
-- KEYS  fence, lease, queue
-- ARGV  1 ticket and session: whose lease is meant, and who asks; 2 'T' that of the ticket; 'H' and a name: that of
--       this holder; 'A' whoever's it is; '' none, since this may have been carried out before; and where the same session
--       asks for the key again, 3 as whom it joins the line, and 4 the longest line to join
-- answer the token of the lease that ended (in 7 bytes, or a number), or the lease of another, or '';
--        'R', that token, and the answer of acquire.lua to whoever stands in line: released, and asked for again. After any
--        other answer it has not been asked for
local both = redis.call('MGET', lease, WATCHED)
-- What is no lease at all is said to be none by MGET, and wrong by GET.
held, watched = both[1] or redis.call('GET', lease), both[2] ~= false
local others
if held and ARGV[2] == 'T' and string.sub(held, 8, 31) == ARGV[1] then
  if not watched and string.byte(held, 46) == 12 then
    --- took plain-end
    redis.call('DEL', lease)
    return string.sub(held, 32, 38)
  end
  local waiter = redis.call('LINDEX', queue, '0')
  others = waiter ~= false
  if not others then
    --- needs alive
    if alive then
      --- took end
      redis.call('DEL', lease)
      if watched then
        --- needs clock, tell
        tell(event(1, held))
      end
      return string.sub(held, 32, 38)
    end
  elseif not watched and not GUARD then
    -- Nobody but the next one is to be told: `hand_over`, as far as it goes in most cases.
    --- needs clock
    local ttl, whose, tokens = struct.unpack('>I7c24xB', waiter)
    local counter = tokens > 1 and redis.call('ZRANGE', fence, '0', '0', 'WITHSCORES')
    if struct.unpack('>I7', held) > now and now <= tonumber(ARGV[#ARGV])
      -- Several tokens are those of the time that has passed since the last one, if that is enough.
      and (not counter or (counter[1] == 't' and now - counter[2] >= tokens))
      and redis.pcall('ZADD', fence, 'XX', 'GT', 'CH', stamp, 't') == 1 then
      local life = HANDOVER_LIFE
      if ttl < HANDOVER_TTL then
        life = string.format('%.0f', math.ceil(ttl / 1000) + 60000)
      else
        ttl = HANDOVER_TTL
      end
      local record = struct.pack('>I7c24I7I7', now + ttl, whose, now - tokens + 1, now) .. string.sub(waiter, 32)
      local address, heard = 's:' .. string.sub(whose, 17)
      if CLUSTER then
        heard = redis.call('SPUBLISH', SHARD .. address, 'G' .. record)
      else
        heard = redis.call('PUBLISH', 'soloist:1:' .. address, 'G' .. record)
      end
      if heard > 0 then
        --- took hand-over
        -- Before the next one leaves it, so that the line is there all the time and keeps its life.
        local at = ARGV[4] and redis.call('RPUSH', queue, ARGV[3]) - 1
        redis.call('LPOP', queue)
        redis.call('SET', lease, record, 'PX', life)
        if at then
          if at <= tonumber(ARGV[4]) then
            --- took rotation
            return struct.pack('>c1c7c1I7I4', 'R', string.sub(held, 32, 38), 'Q', now, at) .. record
          end
          redis.call('LREM', queue, '-1', ARGV[3])
        end
        return string.sub(held, 32, 38)
      end
    end
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
  if not held then hand_over(nil, others) end
  return held or ''
end
local mine, by, with = held, session, token
local ended = watched and event(who == 'A' and 4 or 1, mine)
held = false
if who ~= 'T' or by ~= string.sub(ARGV[1], 17) then wake_lost(mine, '\0') end
-- The next one's lease takes the place of this one, and needs hardly more memory.
if not hand_over(nil, others, ended) then
  redis.call('DEL', lease)
  if ended then tell(ended) end
end
return with
