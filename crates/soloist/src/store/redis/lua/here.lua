-- Writes down that a shard is heard at this node: of a cluster only.
-- KEYS  fence
--- needs clock, late, lease
if CLUSTER then came_lately() end
return 1
