-- A clock that a test moves by hand, in place of the server's.
stamp = redis.call('GET', 'soloist:1:{00}:clock') or '0'
now = tonumber(stamp)
