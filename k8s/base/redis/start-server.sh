#!/bin/sh
# Starts one server of the ledger's group: as a replica of the primary that Sentinels know. Where no Sentinel answers (all pods
# start at once), the one that this pod's Sentinel knew last counts; where there was never one, the first pod is the primary.
# Two who take themselves for the primary do no harm: alone, neither takes a write, and Sentinels end it by their epochs.
# Needs: POD_NAME, DOMAIN (of the pods), GROUP, PASSWORD; CONF, DATA, PORT, SENTINEL_PORT, PROGRAMS have defaults.
set -eu
: "${CONF:=/etc/redis/ledger.conf}" "${DATA:=/data}" "${PORT:=6379}" "${SENTINEL_PORT:=26379}" "${PROGRAMS:=valkey}"
base=${POD_NAME%-*}
own=$POD_NAME.$DOMAIN
export REDISCLI_AUTH="$PASSWORD" VALKEYCLI_AUTH="$PASSWORD"

primary=
for number in 0 1 2; do
  found=$(timeout 3 "$PROGRAMS-cli" -e -h "$base-$number.$DOMAIN" -p "$SENTINEL_PORT" \
    sentinel get-master-addr-by-name "$GROUP" 2>/dev/null | head -n 1) || continue
  case $found in "$base"-[0-2]."$DOMAIN") primary=$found; break ;; esac
done
if [ -z "$primary" ] && [ -f "$DATA/sentinel/sentinel.conf" ]; then
  primary=$(sed -n "s/^sentinel monitor $GROUP \([^ ]*\) .*/\1/p" "$DATA/sentinel/sentinel.conf")
fi
: "${primary:=$base-0.$DOMAIN}"
mkdir -p "$DATA/server"
set -- "$PROGRAMS-server" "$CONF" --dir "$DATA/server" --port "$PORT" --requirepass "$PASSWORD" --masterauth "$PASSWORD" \
  --replica-announce-ip "$own" --replica-announce-port "$PORT"
if [ "$primary" != "$own" ]; then
  set -- "$@" --replicaof "$primary" "$PORT"
fi
exec "$@"
