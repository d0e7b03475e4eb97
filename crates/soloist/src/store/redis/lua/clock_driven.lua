-- A clock that a test moves by hand, in place of the server's.
now = tonumber(redis.call('GET', 'soloist:1:{00}:clock') or '0')
