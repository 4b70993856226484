#!/bin/sh
# env.sh FILE [DOMAIN]: make the settings of compose.yaml, with a new secret. An existing file stays as it is.
set -eu
umask 077
file=$1 domain=${2:-}
here=$(dirname "$0")
case $domain in *[!A-Za-z0-9.-]*) echo "DOMAIN is a host name, such as p2pal.example.org" >&2; exit 2 ;; esac
if [ -e "$file" ]; then
    if [ -n "$domain" ] && ! grep -qx "DOMAIN=$domain" "$file"; then
        echo "$file is for another name: change DOMAIN there, and empty SITE" >&2
        exit 2
    fi
    exit 0
fi

secret=$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
if [ -n "$domain" ]; then
    change="s/^DOMAIN=.*/DOMAIN=$domain/; s/^SITE=.*/SITE=/"
else
    change=""
fi
# The secret reaches sed through its standard input: everyone on the machine can read a command line.
printf '%s\n' "s/^TURN_SECRET=.*/TURN_SECRET=$secret/; $change" | sed -f /dev/stdin "$here/env.example" >"$file.new"
mv "$file.new" "$file"

echo "made $file, with a new secret; only you can read it"
[ -n "$domain" ] || echo "it is for trying out on this machine: for others, set DOMAIN and empty SITE in $file, then: make up"
