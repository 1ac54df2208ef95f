-- Fills a batch's queue, if none of its chunks waits or is being worked on.
-- KEYS: the queue
-- ARGV: 1 the workers' group, then numbers of chunks
if redis.call('EXISTS', KEYS[1]) == 1 then
  if redis.call('XLEN', KEYS[1]) > 0 then
    return 0
  end
else
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
end
for i = 2, #ARGV do
  redis.call('XADD', KEYS[1], '*', 'chunk', ARGV[i])
end
return 1
