#!/bin/sh
# Starts one server of the ledger's group: as a replica of the primary that Sentinels know, and as the first
# primary only where none is known and this is the first pod.
# Needs: POD_NAME, DOMAIN (of the pods), GROUP, PASSWORD; CONF, DATA, PORT, SENTINEL_PORT, PROGRAMS have defaults.
set -eu
: "${CONF:=/etc/redis/ledger.conf}" "${DATA:=/data}" "${PORT:=6379}" "${SENTINEL_PORT:=26379}" "${PROGRAMS:=valkey}"
base=${POD_NAME%-*}
own=$POD_NAME.$DOMAIN

known_primary() {
  for number in 0 1 2; do
    found=$(REDISCLI_AUTH=$PASSWORD VALKEYCLI_AUTH=$PASSWORD timeout 3 "$PROGRAMS-cli" -h "$base-$number.$DOMAIN" -p "$SENTINEL_PORT" \
      sentinel get-master-addr-by-name "$GROUP" 2>/dev/null | head -n 1) || found=
    if [ -n "$found" ]; then echo "$found"; return; fi
  done
}

primary=$(known_primary)
: "${primary:=$base-0.$DOMAIN}"
set -- "$PROGRAMS-server" "$CONF" --dir "$DATA" --port "$PORT" --requirepass "$PASSWORD" --masterauth "$PASSWORD" \
  --replica-announce-ip "$own" --replica-announce-port "$PORT"
if [ "$primary" != "$own" ]; then
  set -- "$@" --replicaof "$primary" "$PORT"
fi
exec "$@"
