-- Ends a lease and hands the key over. A holder is told when its lease is ended by anybody else.
-- KEYS  fence, lease, queue
-- ARGV  1 who is meant; 2 the session that asks; 3 '1' if this may have been carried out before
-- answer {1, token} released; {0, lease or ''} not held
local state = open(1)
local who = ARGV[1]
local by_ticket = string.sub(who, 1, 1) == 'T'
sweep(state)
-- Invariant: only a ticket names one lease. What is held when the question comes again may be the next one's.
if not is_meant(state, who) or (ARGV[3] == '1' and not by_ticket) then
  hand_over(state)
  return { 0, state.held or '' }
end
local held, kind = state.held, 1
if who == 'A' then kind = 4 end
drop_lease(state)
tell(state, kind, holder_of(held), token_of(held))
if not by_ticket or session_of(held) ~= ARGV[2] then
  wake_lost(held, '\0')
end
hand_over(state)
return { 1, token_of(held) }
