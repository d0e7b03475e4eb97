-- Where a ticket stands in line.

-- Looks for a ticket in the line from one index to another, from the back to the front.
local function search(whose, first, last)
  local count = 4
  while last >= first do
    local from = math.max(last - count + 1, first)
    local some = redis.call('LRANGE', queue, from, last)
    for i = #some, 1, -1 do
      if string.sub(some[i], 8, 23) == whose then return from + i - 1, some[i] end
    end
    last, count = from - 1, 128
  end
  return false
end

-- Finds a ticket in the line: its index from 0, and its entry. `place` is where it stood when last seen, from 1;
-- -1 where that is not known, 0 if it never stood there. Places only shrink while one stands in line, so it is
-- looked for from there to the front, at the same cost in a long line as in a short one; then behind, where it
-- is if it lost its place and joined again, and the answer to that was lost.
local function find(whose, place)
  if place == 0 then return false end
  if place > 0 then
    local at, entry = search(whose, 0, place - 1)
    if at then return at, entry end
  end
  return search(whose, math.max(place, 0), redis.call('LLEN', queue) - 1)
end

-- Takes a ticket out of the line; answers whether it stood there.
local function step_out(whose, place)
  local at, entry = find(whose, place)
  if not at then return false end
  -- From the end that is nearer.
  local side = 1
  if at > redis.call('LLEN', queue) / 2 then side = -1 end
  redis.call('LREM', queue, side, entry)
  return true
end
