#!/bin/sh
# Starts the Sentinel beside a server of the ledger's group. It asks its peers first, so that one that is restarted
# after a failover does not name the old primary.
# Needs what start-server.sh needs.
set -eu
: "${DATA:=/data}" "${PORT:=6379}" "${SENTINEL_PORT:=26379}" "${PROGRAMS:=valkey}"
base=${POD_NAME%-*}
own=$POD_NAME.$DOMAIN
primary=
for number in 0 1 2; do
  [ "$base-$number" = "$POD_NAME" ] && continue
  primary=$(REDISCLI_AUTH=$PASSWORD VALKEYCLI_AUTH=$PASSWORD timeout 3 "$PROGRAMS-cli" -h "$base-$number.$DOMAIN" -p "$SENTINEL_PORT" \
    sentinel get-master-addr-by-name "$GROUP" 2>/dev/null | head -n 1) || primary=
  [ -z "$primary" ] || break
done
: "${primary:=$base-0.$DOMAIN}"
umask 077
cat >"$DATA/sentinel.conf" <<CONF
port $SENTINEL_PORT
dir $DATA
protected-mode no
requirepass $PASSWORD
sentinel sentinel-pass $PASSWORD
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $own
sentinel announce-port $SENTINEL_PORT
sentinel monitor $GROUP $primary $PORT 2
sentinel auth-pass $GROUP $PASSWORD
sentinel down-after-milliseconds $GROUP 3000
sentinel failover-timeout $GROUP 15000
sentinel parallel-syncs $GROUP 1
CONF
exec "$PROGRAMS-server" "$DATA/sentinel.conf" --sentinel
