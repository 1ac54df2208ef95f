#!/bin/sh
# Starts the Sentinel beside a server of the ledger's group. What it learned is kept on the pod's disk, its epoch above all; only
# the password is written anew. Needs what start-server.sh needs.
set -eu
: "${DATA:=/data}" "${PORT:=6379}" "${SENTINEL_PORT:=26379}" "${PROGRAMS:=valkey}"
base=${POD_NAME%-*}
own=$POD_NAME.$DOMAIN
umask 077
mkdir -p "$DATA/sentinel"
conf=$DATA/sentinel/sentinel.conf
if [ -f "$conf" ]; then
  sed -e '/^requirepass /d' -e '/^sentinel sentinel-pass /d' -e '/^sentinel auth-pass /d' "$conf" >"$conf.new"
else
  cat >"$conf.new" <<CONF
port $SENTINEL_PORT
dir $DATA/sentinel
protected-mode no
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $own
sentinel announce-port $SENTINEL_PORT
sentinel monitor $GROUP $base-0.$DOMAIN $PORT 2
sentinel down-after-milliseconds $GROUP 3000
sentinel failover-timeout $GROUP 15000
sentinel parallel-syncs $GROUP 1
CONF
fi
cat >>"$conf.new" <<CONF
requirepass "$PASSWORD"
sentinel sentinel-pass "$PASSWORD"
sentinel auth-pass $GROUP "$PASSWORD"
CONF
mv "$conf.new" "$conf"
exec "$PROGRAMS-server" "$conf" --sentinel
