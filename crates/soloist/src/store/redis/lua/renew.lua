-- Begins the ttl of many leases anew. It wakes nobody who waits for a lease that goes on.
-- KEYS  the leases
-- ARGV  for each: whose it is, a ticket or a holder; and its ttl, with an 'H' behind if that was a holder, or an 'A'
--       if whoever's it is is meant, and then '+' and the token that it has at least from now on, if it is raised
-- answer {now, for each its token in 7 bytes, or {the lease of another, or ''}}
--- needs clock, late, tell, lease, grant
local answers, all = { now }, redis.call('MGET', unpack(KEYS))
local how, ttl, kind, least, life, ends
for i = 1, (#ARGV - 1) / 2 do
  local whose = ARGV[2 * i - 1]
  if ARGV[2 * i] ~= how then
    -- Mostly all have the same ttl, and what follows from it is made once.
    how = ARGV[2 * i]
    ttl, kind, least = string.match(how, '^(%d+)(%u?)%+?(%d*)$')
    ttl = tonumber(ttl)
    ends = struct.pack('>I7', math.min(now + ttl, NEVER))
    life = ttl < NEVER and kind == '' and least == '' and string.format('%.0f', math.ceil(ttl / 1000) + 60000)
  end
  lease, held = KEYS[i], all[i]
  local short = false
  if held and life then
    local till, own = struct.unpack('>I7c16', held)
    if own == whose and till > now then
      local rest = string.sub(held, 8)
      local flags = string.byte(held, 46)
      -- From now on one like any other.
      if flags > 3 then rest = string.sub(held, 8, 45) .. string.char(flags % 4) .. string.sub(held, 47) end
      short = not redis.pcall('SET', lease, ends .. rest, 'PX', life).err
    end
  end
  if short then
    --- took renewal
    answers[i + 1] = string.sub(held, 32, 38)
  else
    -- The other names of this key stand in the same slot.
    fence, queue = string.sub(lease, 1, 15) .. 'f', string.sub(lease, 1, 15) .. 'q' .. string.sub(lease, 17)
    before = nil
    --- took renew
    -- Anew: what is no lease at all is said to be none by MGET, and wrong by GET. And so from here on, should a key be
    -- named twice.
    held, all = nil, {}
    look()
    if held and (kind == 'A' or (kind == '' and ticket == whose) or (kind == 'H' and holder_of(held) == whose)) then
      local raised = least ~= '' and tonumber(least) > token
      if raised then
        -- Invariant: a key's tokens never decrease.
        if last_token() < tonumber(least) then count_to(tonumber(least)) end
        -- The tokens behind it were not asked for anywhere.
        held = string.sub(held, 1, 31) .. struct.pack('>I7', tonumber(least)) .. string.sub(held, 39, 46) .. '\1'
          .. string.sub(held, 48)
      end
      answers[i + 1] = string.sub(held, 32, 38)
      prolong(ttl)
      if raised then tell(event(0, held)) end
    else
      if not held then hand_over() end
      answers[i + 1] = { held or '' }
    end
  end
end
return answers
