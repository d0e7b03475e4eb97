-- Gives a request up: out of the line, or the grant that crossed it is passed on.
-- KEYS  fence, lease, queue
-- ARGV  1 ticket; 2 the place at which it may stand in line, -1 somewhere, 0 it does not
-- answer 1 it stood in line, 2 it held the lease, 3 it was not there
local state = open(1)
sweep(state)
local left = 3
if step_out(state, ARGV[1], tonumber(ARGV[2])) then
  left = 1
elseif state.held and ticket_of(state.held) == ARGV[1] then
  local held = state.held
  drop_lease(state)
  tell(state, 1, holder_of(held), token_of(held))
  left = 2
end
hand_over(state)
return left
