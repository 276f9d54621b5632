#!/bin/sh
# Removes one fleet and restores the machine's settings. Every fleet ends by this
# script: it waits on the fleet's lock, which the kernel releases when
# the fleet is closed and also when its process panics or is killed.
# usage: flock STATE/lock reap.sh STATE
#
# STATE is /run/aoifleet-e2e/NAME. NAME is also the name of the network
# namespace and of the cgroups, so that only this fleet's are removed.
# The script may be run again after an interruption.
set -u
LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
state=$1
name=${state##*/}
status=0

[ -f "$state/dir" ] || exit 0 # another run has done it
dir=$(cat "$state/dir")
owner=$(cat "$state/owner")

complain() {
	printf 'error: %s\n' "$1" >&2
	status=1
}

# The fleet's own directory in every cgroup hierarchy of the machine.
cgroups() {
	awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts | while read -r mount; do
		[ ! -d "$mount/$name" ] || printf '%s\n' "$mount/$name"
	done
}

populated() {
	grep -q '^populated 1' "$1/cgroup.events"
}

# The machines first: systemd-nspawn then removes its own locks and exits. A
# starting machine has no processes yet, so the search is repeated. After 10 s all
# remaining processes are killed.
kill_machines() {
	for top in $(cgroups); do
		[ -f "$top/cgroup.kill" ] || continue
		tries=0
		while populated "$top" && [ "$tries" -lt 220 ]; do
			for payload in "$top"/*/payload; do
				[ ! -d "$payload" ] || echo 1 >"$payload/cgroup.kill"
			done
			[ "$tries" -lt 200 ] || echo 1 >"$top/cgroup.kill"
			tries=$((tries + 1))
			sleep 0.05
		done
		! populated "$top" || complain "processes are left in $top"
	done
}

# Programs that were started in the network namespace, never the fleet's owner.
kill_clients() {
	[ -e "/run/netns/$name" ] || return 0
	for pid in $(ip netns pids "$name"); do
		[ "$pid" = "$owner" ] || kill -KILL "$pid" 2>/dev/null
	done
	ip netns delete "$name" || complain "network namespace $name is left"
}

unmount() {
	awk -v dir="$dir/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do
		umount "$mount" 2>/dev/null || umount --lazy "$mount"
	done
}

remove() {
	for top in $(cgroups); do
		find "$top" -depth -type d -exec rmdir {} \;
		[ ! -d "$top" ] || complain "cgroup $top is left"
	done
	rm -rf --one-file-system "$dir" || complain "directory $dir is left"
	for propagate in /run/systemd/nspawn/propagate/"$name"-*; do
		[ ! -d "$propagate" ] || rmdir "$propagate" || complain "directory $propagate is left"
	done
}

# Runs under the lock on /run: the last fleet to end restores the settings before the
# first one, see kernel.go.
leave() {
	rm -rf "$state"
	shared=${state%/*}
	rm -rf "$shared"/.aoifleet-e2e-* # incomplete states of fleets that died
	for other in "$shared"/*/; do
		[ ! -d "$other" ] || return 0
	done
	if [ -f "$shared/inotify" ]; then
		cat "$shared/inotify" >/proc/sys/fs/inotify/max_user_instances
		rm -f "$shared/inotify"
	fi
	if [ -f "$shared/no-netns" ]; then
		rmdir /run/netns 2>/dev/null || { umount /run/netns && rmdir /run/netns; } 2>/dev/null
		rm -f "$shared/no-netns"
	fi
	if [ -f "$shared/no-nspawn" ]; then
		rmdir /run/systemd/nspawn/* /run/systemd/nspawn 2>/dev/null
		rm -f "$shared/no-nspawn"
	fi
	rmdir "$shared"
}

if [ "${2-}" = leave ]; then
	leave
	exit
fi
kill_machines
kill_clients
unmount
remove
# If something could not be removed, the state stays, and the next start retries.
[ "$status" -eq 0 ] || exit "$status"
exec flock /run /bin/sh "$0" "$state" leave
