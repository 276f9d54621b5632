#!/bin/sh
# check.sh OUT [OS/ARCH…] builds a release twice, the second time from other folders, without
# git, with other settings of the user and at another time, and fails if a byte differs.
# With FRESH=1 the compiler's cache is empty the second time: all is compiled again.
set -eu
cd "$(dirname "$0")/.."
out=$1
shift
VERSION=$(git describe --tags --always --dirty)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export VERSION SOURCE_DATE_EPOCH
sh packaging/build.sh "$out" "$@"
again=$(mktemp -d)
trap 'rm -rf "$again"' EXIT
mkdir "$again/source"
umask 077
git ls-files -z --cached --others --exclude-standard | tar --null -T - -c | tar -C "$again/source" --no-same-permissions -x
[ -z "${FRESH:-}" ] || export PROGRAM_CACHE="$again/cache"
(
	cd /
	export TZ=Asia/Tokyo LC_ALL=C.UTF-8
	sh "$again/source/packaging/build.sh" "$again/dist" "$@" >/dev/null
)
diff -r "$out" "$again/dist"
echo "built twice: the same bytes"
