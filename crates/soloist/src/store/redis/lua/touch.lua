-- Ends what has ended and hands over what is free, as any other verb would.
-- KEYS  fence, lease, queue
--- needs clock, late, tell, lease, grant
look()
if not held then hand_over() end
return 1
