-- Everything about keys, changing nothing.
-- KEYS  for each: fence, lease, queue, result
-- ARGV  1 '1' for the waiters themselves, '0' for their number
-- answer {now, for each: lease or '', waiters or their number, head of the result or '', length of the result}
--- needs clock
local answers = { now }
for i = 1, #KEYS, 4 do
  local line
  if ARGV[1] == '1' then line = redis.call('LRANGE', KEYS[i + 2], '0', '-1') else line = redis.call('LLEN', KEYS[i + 2]) end
  answers[#answers + 1] = {
    redis.call('GET', KEYS[i + 1]) or '', line,
    redis.call('GETRANGE', KEYS[i + 3], '0', '320'), redis.call('STRLEN', KEYS[i + 3])
  }
end
return answers
