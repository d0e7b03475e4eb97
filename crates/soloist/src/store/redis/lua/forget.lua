-- Drops the result; a flight under way will not be kept either.
-- KEYS  fence, lease, queue, result
-- answer 1 if there was a result that callers were served with, else 0
local state = open(1)
sweep(state)
hand_over(state)
local held = state.held
if held and is_flight(held) then
  write_lease(state, string.sub(held, 1, 34) .. '\1' .. string.sub(held, 36))
end
local done = result_head(state)
if not done then return 0 end
redis.call('DEL', state.result)
tell(state, 7, done.leader, done.token)
if done.till > now then return 1 end
return 0
