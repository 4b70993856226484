#!/bin/sh
# coturn.sh SHIPPED DIRECTORY [FLAG...]: run coturn with the shipped configuration and what is this machine's own:
# $REALM, $TURN_SECRET and, where it is behind a NAT, $EXTERNAL_IP (PUBLIC or PUBLIC/PRIVATE).
# The secret goes through a file, because everyone on the machine can read a command line.
set -eu
umask 077
shipped=$1 directory=$2
shift 2
{
    cat "$shipped"
    printf '%s\n' "realm=$REALM" "static-auth-secret=${TURN_SECRET:?}" \
        "pidfile=$directory/turnserver.pid" "userdb=$directory/turndb"
    [ -z "${EXTERNAL_IP:-}" ] || printf '%s\n' "external-ip=$EXTERNAL_IP"
} >"$directory/turnserver.conf"
exec turnserver -c "$directory/turnserver.conf" "$@"
