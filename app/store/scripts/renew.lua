#!lua flags=allow-oom
-- Moves a worker's lease deadline in one partition. KEYS: the partition's workers. ARGV: worker, lease (ms)
redis.call('ZADD', KEYS[1], now() + ARGV[2], ARGV[1])
return { 'ok' }
