-- Gives a request up: out of the line, or the grant that crossed it is passed on.
-- KEYS  fence, lease, queue
-- ARGV  1 ticket; 2 the place at which it may stand in line, -1 somewhere, 0 it does not
-- answer 1 it stood in line, 2 it held the lease, 3 it was not there
--- needs clock, late, tell, lease, grant, line
look()
local left = 3
if step_out(ARGV[1], tonumber(ARGV[2])) then
  left = 1
elseif held and ticket == ARGV[1] then
  local ended = held
  drop()
  tell(event(1, ended))
  left = 2
end
if not held then hand_over() end
return left
