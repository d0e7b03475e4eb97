-- Whether a lease is not over, where the life of what stands there does not tell.
local alive = struct.unpack('>I7', held) > now
