#!/bin/sh
# check.sh: whether `docker compose` is there and new enough for compose.yaml. Before anything is made or changed.
set -eu
needed="Docker with Compose 2.20 or newer is needed"
version=$(docker compose version --short 2>/dev/null) || { echo "$needed: 'docker compose version' does not work" >&2; exit 1; }
number=${version#v}
major=${number%%.*}
rest=${number#*.}
minor=${rest%%[!0-9]*}
case $major in '' | *[!0-9]*) exit 0 ;; esac # of another kind than any that is known: let it try
if [ "$major" -lt 2 ] || { [ "$major" -eq 2 ] && [ "${minor:-0}" -lt 20 ]; }; then
    echo "$needed; this is $version" >&2
    exit 1
fi
