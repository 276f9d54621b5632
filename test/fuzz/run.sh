#!/bin/sh
# Runs each fuzz target of the module in the folder $MODULE (the root) for $FUZZTIME (1m), or only those whose name in the
# form PACKAGE.TARGET matches the regular expression $1. An input that fails is kept below
# testdata/fuzz, where `go test` runs it from then on.
set -eu
cd "$(dirname "$0")/../../${MODULE:-.}"
time=${FUZZTIME:-1m}
workers=${FUZZWORKERS:-$(getconf _NPROCESSORS_ONLN)}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM

# go test -list prints the targets of a package, then its result.
module=$(go list -m)
targets=$(go test -list '^Fuzz' ./... | awk -v module="$module/" '
	/^Fuzz/ { names[++n] = $1 }
	/^ok/ { sub(module, "", $2); for (i = 1; i <= n; i++) print $2 "." names[i]; n = 0 }' | grep -E -- "${1:-.}") ||
	{ echo "error: no fuzz target matches ${1:-.}" >&2; exit 2; }

# fuzz runs one target. By default go test takes up to a minute to make each input smaller that reaches new code,
# and tries no other. It sometimes fails with "context deadline exceeded", and no input, when the time
# is over (go.dev/issue/75804): that is no finding.
fuzz() {
	# shellcheck disable=SC3045 # dash, bash, busybox and the BSDs have -v (kB)
	(ulimit -v 8000000; exec go test "./$1" -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 500x -parallel "$workers") >"$log" 2>&1 ||
		{ grep -qx '    context deadline exceeded' "$log" && ! grep -q 'Failing input\|panic:' "$log"; }
}

count=0 failed=0
for target in $targets; do
	count=$((count + 1))
	package=${target%.*} name=${target##*.}
	if fuzz "$package" "$name"; then
		printf '%-40s %9d executions\n' "$target" "$(sed -n 's/.*execs: \([0-9]*\).*/\1/p' "$log" | tail -n 1)"
		continue
	fi
	failed=$((failed + 1))
	echo "FAILED $target"
	grep -v '^fuzz: elapsed' "$log" | head -n 40
	input=$(sed -n 's/.*Failing input written to \(testdata[^ ]*\).*/\1/p' "$log" | tail -n 1)
	[ -n "$input" ] || continue
	echo "found:        $package/$input"
	echo "run it again: go test ./$package -run '$name/$(basename "$input")'"
	echo "keep it:      git add $package/$input"
done
echo "$count targets, $time each, $failed failed"
[ "$failed" -eq 0 ]
