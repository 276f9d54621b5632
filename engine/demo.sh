#!/bin/sh
# The demo of make engine-demo, which aoifleet-engine dev runs: a rotation at two sites, one VM of
# which is rolled back. It fails if anything is otherwise than it says.
set -eu
# shellcheck source=/dev/null
. "$DEV/env"

# show WANTED-EXIT-CODE COMMAND [ARGUMENT]...
show() {
	want=$1 code=0
	shift
	printf '\n$ %s\n' "$*"
	"$@" 2>&1 || code=$?
	if [ "$code" != "$want" ]; then
		echo "error: exit code $code, not $want" >&2
		exit 1
	fi
}

echo "# a Temporal server, a control worker, and the workers of two sites with six simulated VMs each"
echo "# the workstation has no SSH key:"
show 2 aoifleet plan
echo
echo "# the workers of the sites have one. On paris-sftp-04 Entra will refuse the new certificate:"
echo "paris-sftp-04 log-only $NEW" >>"$DEV/vms/paris/faults"
show 0 aoifleet plan --engine "$ENGINE" --out "$DEV/plan.json"
show 6 aoifleet rotate --plan "$DEV/plan.json" --engine "$ENGINE" --yes --report "$DEV/report.md"
show 0 aoifleet runs list --engine "$ENGINE"
show 0 cat "$DEV/report.md"
