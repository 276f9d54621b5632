#!/bin/sh
# build.sh OUT [OS/ARCH…] builds a release in the folder OUT: for each platform an archive of
# aoifleet and one of aoifleet-engine, for Linux also a .deb and an .rpm of each, and SHA256SUMS
# and RELEASE-NOTES.md. The same commit gives the same bytes, in any folder and at any time
# (https://reproducible-builds.org). It needs Go, GNU tar and zip.
set -eu
cd "$(dirname "$0")/.."
out=$1
shift
[ $# -gt 0 ] || set -- linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

NFPM=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
VERSION=${VERSION:-$(git describe --tags --always --dirty)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
# The settings of the user that change what is built.
export VERSION SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC CGO_ENABLED=0 GOFLAGS='' GOEXPERIMENT='' GOAMD64=v1 GOARM64=v8.0
umask 022

# The version as dpkg and rpm order it: a pre-release comes before its release, and a commit
# after its tag; without a tag, before each release.
case $VERSION in
v[0-9]* | [0-9]*.[0-9]*) NUMBER=$(echo "${VERSION#v}" | sed 's/-\([0-9]*-g[0-9a-f]*\)/+\1/; s/-dirty$/+dirty/; s/+\(.*\)-/+\1./; s/-/~/g') ;;
*) NUMBER=$(echo "0~$VERSION" | sed 's/-/+/g') ;;
esac
export NUMBER

rm -rf "$out"
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# program FILE NAME builds the program NAME for GOOS and GOARCH. The version names the commit: no
# other trace of git, so that a source archive gives the same bytes. The tags leave out the formats
# of yq other than YAML, which no edit can use: 6 MB; and of the engine the Temporal server of dev.
program() (
	tags=$(cat packaging/tags)
	if [ "$2" = aoifleet-engine ]; then
		cd engine
		tags=$tags,nodev
	fi
	GOCACHE=${PROGRAM_CACHE:-$(go env GOCACHE)} go build -trimpath -tags "$tags" -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o "$1" "./cmd/$2"
)

# stage NAME makes the folder $name of the archive of the program NAME for $os and $arch.
stage() {
	name=$1_${NUMBER}_${os}_$arch
	suffix=
	[ "$os" != windows ] || suffix=.exe
	mkdir "$work/$name"
	GOOS=$os GOARCH=$arch program "$work/$name/$1$suffix" "$1"
	cp LICENSE "$work/$name"
}

# pack NAME packs the folder $name, and on Linux makes the packages.
pack() {
	chmod -R u=rwX,go=rX "$work/$name" # the checkout may have been made under another umask
	find "$work/$name" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	if [ "$os" = windows ]; then
		(cd "$work" && find "$name" -type f | sort | zip -X -q -@ "$out/$name.zip")
	else
		tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --format=ustar -c "$name" | gzip -9n >"$out/$name.tar.gz"
	fi
	[ "$os" = linux ] || return 0
	ln -f "$work/$name/$1" "$work/$1"
	for format in deb rpm; do
		ARCH=$arch STAGE=$work go run "$NFPM" package -f "packaging/$1.yaml" -p $format -t "$out" >/dev/null
	done
}

# notes prints the changes of this version.
notes() {
	awk -v version="$NUMBER" '
		/^## / { shown = $2 == version || $2 == "v" version; if (shown) found = 1; next }
		shown
		END { exit !found }' CHANGELOG.md ||
		awk '/^## / { shown = $2 == "Unreleased"; next } shown' CHANGELOG.md
}

program "$work/native" aoifleet
"$work/native" man "$work/man"
mkdir "$work/completion" "$work/man.gz"
"$work/native" completion bash >"$work/completion/aoifleet.bash"
"$work/native" completion zsh >"$work/completion/_aoifleet"
"$work/native" completion fish >"$work/completion/aoifleet.fish"
"$work/native" completion powershell >"$work/completion/aoifleet.ps1"
for page in "$work"/man/*.1; do
	gzip -9nc "$page" >"$work/man.gz/$(basename "$page").gz"
done
gzip -9nc CHANGELOG.md >"$work/changelog.gz"

for platform in "$@"; do
	os=${platform%/*} arch=${platform#*/}
	stage aoifleet
	cp -R README.md "$work/completion" "$work/$name"
	[ "$os" = windows ] || cp -R "$work/man" "$work/$name"
	pack aoifleet
	# The engine is apart: most fleets need none, and it is larger than the program.
	stage aoifleet-engine
	cp docs/engine.md "$work/$name/README.md"
	[ "$os" != linux ] || cp -R engine/examples "$work/$name"
	pack aoifleet-engine
done
notes >"$out/RELEASE-NOTES.md"
(cd "$out" && sha256sum -- *.* >SHA256SUMS && cat SHA256SUMS)
