#!/bin/sh
# Make (or update) the private virtual environment: venv.sh PYTHON VENV WHAT
# Debian ships Python without venv; as root the missing package is installed, else the message says which it is.
set -eu
python=$1 venv=$2 what=$3

"$python" - <<'PY' || exit 1
import sys
if sys.version_info < (3, 11):
    sys.exit(f"p2pal needs Python 3.11 or newer; this is {sys.version.split()[0]} (choose another: make PYTHON=python3.12 ...)")
PY

if [ ! -x "$venv/bin/python" ]; then
    if ! "$python" -m venv "$venv" 2>/dev/null; then
        rm -rf "$venv"
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            echo "installing python$version-venv"
            apt-get update -qq
            apt-get install -y -qq --no-install-recommends "python$version-venv" >/dev/null
            "$python" -m venv "$venv"
        else
            echo "Python's venv module is missing; install it first (Debian, Ubuntu: apt install python$version-venv)" >&2
            exit 1
        fi
    fi
fi

echo "installing p2pal into $venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary wrtc -e "$what"
