#!/bin/sh
# Install the system programs that the tests need, where they are missing and we are root.
# unshare and mount: tests with nothing but loopback, and with a disk that is full.
# ip, tc, ss and nft: tests with hosts of their own, whose network is cut.
# cc and the C library's headers: the emulator of long and bad links, which the tests compile (Linux alone).
# turnserver (coturn) and redis-server: tests with a real relay and a real store, which they start themselves.
# caddy and nginx: tests with a real proxy in front of the server, which they start themselves.
# git: tests that ask it what it leaves out.
# systemd-analyze: a test of the units (the package starts nothing, and does not make systemd this machine's init).
set -eu
missing=""
command -v unshare >/dev/null || missing="$missing util-linux"
command -v mount >/dev/null || missing="$missing mount"
{ command -v ip && command -v tc && command -v ss; } >/dev/null || missing="$missing iproute2"
command -v nft >/dev/null || missing="$missing nftables"
{ command -v turnserver && command -v turnutils_uclient; } >/dev/null || missing="$missing coturn"
{ command -v cc >/dev/null && [ -e /usr/include/linux/virtio_net.h ] && [ -e /usr/include/stdio.h ]; } ||
    missing="$missing gcc libc6-dev"
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v caddy >/dev/null || missing="$missing caddy"
{ command -v nginx || [ -x /usr/sbin/nginx ]; } >/dev/null || missing="$missing nginx"
command -v git >/dev/null || missing="$missing git"
command -v systemd-analyze >/dev/null || missing="$missing systemd"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing$missing"
    # Some packages start a service of theirs, now and whenever the machine does. While this policy stands (see
    # invoke-rc.d) nothing is started; one that is there already is somebody's, and stays.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        trap 'exit 1' HUP INT TERM
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    apt-get update -qq
    # shellcheck disable=SC2086 - a list of packages
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    for service in coturn redis-server caddy nginx; do
        case "$missing " in
        *" $service "*) command -v systemctl >/dev/null && systemctl -q disable "$service" 2>/dev/null || : ;;
        esac
    done
else
    echo "the tests also want these packages:$missing (some are skipped without)" >&2
fi
