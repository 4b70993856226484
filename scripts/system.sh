#!/bin/sh
# Install the system programs that the tests need, where they are missing and we are root.
# unshare and mount: tests with nothing but loopback, and with a disk that is full.
# ip, tc, ss and nft: tests with hosts of their own, whose network is cut.
set -eu
missing=""
command -v unshare >/dev/null || missing="$missing util-linux"
command -v mount >/dev/null || missing="$missing mount"
{ command -v ip && command -v tc && command -v ss; } >/dev/null || missing="$missing iproute2"
command -v nft >/dev/null || missing="$missing nftables"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing$missing"
    apt-get update -qq
    # shellcheck disable=SC2086 - a list of packages
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "the tests also want these packages:$missing (some are skipped without)" >&2
fi
