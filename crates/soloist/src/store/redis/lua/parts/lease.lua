-- The lease: looked at, written, dropped; and messages to sessions.

-- Tells a session; answers how many hear it.
local function wake(to, message)
  return redis.call('PUBLISH', 'soloist:1:s:' .. to, message)
end

-- Tells a holder that this lease of his has ended, and how.
local function wake_lost(of, how)
  wake(string.sub(of, 24, 31), 'L' .. string.sub(of, 8, 38) .. how)
end

local function holder_of(of)
  return (struct.unpack('>I2c0', of, 48))
end

local function tokens_of(of)
  return string.byte(of, 47)
end

local function text(name)
  return struct.pack('>I2', #name) .. name
end

-- Writes a lease that lives for so long, by redis.call or redis.pcall. It outlives its deadline by a minute, so that a
-- later touch can tell that it expired.
local function write(call, record, ttl)
  held = record
  if ttl >= NEVER then return call('SET', lease, record) end
  local life = HANDOVER_LIFE -- to make text of a number takes longer than most commands
  if ttl ~= HANDOVER_TTL then life = string.format('%.0f', math.ceil(ttl / 1000) + 60000) end
  return call('SET', lease, record, 'PX', life)
end

-- Begins the life of the lease anew.
local function prolong(ttl)
  local record = struct.pack('>I7', math.min(now + ttl, NEVER)) .. string.sub(held, 8)
  if write(redis.pcall, record, ttl).err then
    -- Out of memory: a script that has written already may go on, so the first write is one that needs none.
    redis.call('PEXPIRE', lease, DAY)
    write(redis.call, record, ttl)
  end
end

local function drop()
  redis.call('DEL', lease)
  held = false
end

-- Reads the lease; one past its deadline is dropped.
local function look()
  if held == nil then held = redis.call('GET', lease) end
  if not held then return end
  deadline, ticket, session, token = struct.unpack('>I7c16c8I7', held)
  -- What makes no sense to this version is left as it is.
  if deadline > NEVER or #held < 50 then error('not a lease of this version') end
  if deadline <= now then
    local ended = held
    drop()
    tell(event(2, ended))
  end
end
