#!/bin/sh
# Installs the programs that the harness of real hosts needs (Debian, root).
# Does nothing if all are installed.
set -eu

# program:package, the package that contains the program.
needs='debootstrap:debootstrap systemd-nspawn:systemd-container ip:iproute2 ssh:openssh-client
flock:util-linux nsenter:util-linux unshare:util-linux strace:strace'

missing=
for need in $needs; do
	command -v "${need%%:*}" >/dev/null 2>&1 || missing="$missing ${need#*:}"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	printf 'error: not root, and these packages are missing:%s\nhint: sudo %s\n' "$missing" "$0" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# shellcheck disable=SC2086 # a list of names
apt-get install -q -y --no-install-recommends $missing
