-- Ends what has ended and hands over what is free, as any other verb would.
-- KEYS  fence, lease, queue
local state = open(1)
sweep(state)
hand_over(state)
return 1
