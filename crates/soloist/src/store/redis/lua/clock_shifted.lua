-- The server's clock, and by how much a test has set it since.
local time = redis.call('TIME')
now = time[1] * 1000000 + time[2] + tonumber(redis.call('GET', 'soloist:1:{00}:clock') or '0')
stamp = string.format('%.0f', now)
