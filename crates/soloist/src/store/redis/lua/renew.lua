-- Begins the ttl of many leases anew. It wakes nobody who waits for a lease that goes on.
-- KEYS  for each: fence, lease, queue
-- ARGV  for each: who is meant; ttl, -1 for ever; '1' to unbind it from its session
-- answer {now, for each {1, token, deadline or -1} or {0, lease or ''}}
local answers = { now }
for i = 1, #KEYS / 3 do
  local state = open(3 * i - 2)
  local who, ttl, detach = ARGV[3 * i - 2], tonumber(ARGV[3 * i - 1]), ARGV[3 * i] == '1'
  sweep(state)
  local held = state.held
  if is_meant(state, who) then
    local deadline, bound = -1, string.sub(held, 34, 34)
    if ttl >= 0 then deadline = now + ttl end
    if detach and is_bound(held) then bound = string.char(string.byte(bound) - 1) end
    write_lease(state, string.sub(held, 1, 33) .. bound .. string.sub(held, 35, 51)
      .. struct.pack('>d', deadline) .. string.sub(held, 60))
    answers[i + 1] = { 1, token_of(held), deadline }
  else
    hand_over(state)
    answers[i + 1] = { 0, state.held or '' }
  end
end
return answers
