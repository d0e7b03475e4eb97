-- The head of the result, if there is one that is not yet gone: ticket, kind, token, at, until, leader.
local function result_head()
  local head = redis.call('GETRANGE', result, '0', '320')
  if #head < 40 then return nil end
  local whose, kind, by, at, till, leader = struct.unpack('>c16BI7I7I7I2c0', head)
  if math.max(till, at + RESULT_GRACE) <= now then return nil end
  return { ticket = whose, kind = kind, token = by, at = at, till = till, leader = leader }
end
