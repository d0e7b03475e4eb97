-- The result of a key, if callers are served with it, changing nothing.
-- KEYS  fence, lease, queue, result
-- answer the result, or '' if there is none
--- needs clock, late, result
local done = result_head()
if not done or done.till <= now then return '' end
return redis.call('GET', result)
