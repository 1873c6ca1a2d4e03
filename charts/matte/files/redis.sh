# Starts Redis with its password in a private file, and with memory left for copy-on-write.
set -eu
umask 077
{
  cat /etc/redis/redis.conf
  echo "maxmemory $((MEMORY_LIMIT / 4 * 3))"
  echo "requirepass \"$REDISCLI_AUTH\""
} >/tmp/redis.conf
exec redis-server /tmp/redis.conf
