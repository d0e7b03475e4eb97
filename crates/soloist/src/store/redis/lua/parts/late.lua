-- Invariant: what would do harm when it is late is not carried out after its caller has given it up. The last
-- argument of every verb is the time until which it is wanted; after that nothing is changed.
if now > tonumber(ARGV[#ARGV]) then return redis.error_reply('TOOLATE ' .. string.format('%.0f', now)) end
