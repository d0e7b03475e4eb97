-- The server's clock in microseconds. Only it decides.
local time = redis.call('TIME')
stamp = time[2]
if #stamp < 6 then stamp = string.sub('00000' .. stamp, -6) end
stamp = time[1] .. stamp
now = tonumber(stamp)
