#!/bin/sh
# Installs the programs that the tests of the Windows program need (Debian, root). Does nothing
# if all are installed.
set -eu

missing=
for need in wine:wine wine:wine64 x86_64-w64-mingw32-gcc:gcc-mingw-w64-x86-64-win32; do
	command -v "${need%%:*}" >/dev/null 2>&1 || missing="$missing ${need#*:}"
done
[ -n "$missing" ] || exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# shellcheck disable=SC2086 # a list of names
apt-get install -q -y --no-install-recommends $missing
