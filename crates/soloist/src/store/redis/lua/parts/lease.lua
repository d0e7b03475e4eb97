-- The lease: looked at, written, dropped; and messages to sessions.

local HEARD = SHARD .. 'heard' -- 'RUN SINCE': since when this run has the shard, and so is heard by those who wait

-- Which run of the server this is.
local function this_run()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or '-'
end

-- Whether a shard of a cluster has come to this node so lately that those who wait in it may not hear here yet: it was
-- moved, or a replica was promoted. The first run that is known of a shard has always had it.
local function came_lately()
  local run = this_run()
  local known, since = string.match(redis.call('GET', HEARD) or '', '^(%S+) (%d+)$')
  since = tonumber(since)
  if known == run and since <= now then return now < since + MOVE_GRACE end
  since = known and now or 0
  redis.pcall('SET', HEARD, run .. ' ' .. string.format('%.0f', since))
  return since > 0
end

-- Tells a session; answers how many hear it.
-- Invariant: 0 means that the session is gone. Where that is not sure, it is taken to hear: if it lives it finds out
-- what it was told as soon as it hears here, and if not, the short ttl of a hand-over ends that.
local function wake(to, message)
  if not CLUSTER then return redis.call('PUBLISH', 'soloist:1:s:' .. to, message) end
  local heard = redis.call('SPUBLISH', SHARD .. 's:' .. to, message)
  if heard == 0 and came_lately() then return 1 end
  return heard
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

-- Begins the life of the lease anew, from now on as one like any other.
local function prolong(ttl)
  local record = struct.pack('>I7', math.min(now + ttl, NEVER)) .. string.sub(held, 8, 45)
    .. string.char(string.byte(held, 46) % 4) .. string.sub(held, 47)
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
