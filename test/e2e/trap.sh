#!/bin/sh
# Is installed in a host's /usr/sbin under the names of other programs. That folder is
# the first in the PATH of the program's script, so a test can stop the
# script at any of its commands. Three lines of the file `set` select the command: a
# pattern for name and arguments, `before` or `after` it runs, and a file (a
# pattern, too) that must exist. The file `set` becomes `held`, with the id of the
# waiting process, until a test removes it. If there is a file `count`, calls are
# recorded in it.
real=/usr/bin/${0##*/}
dir=/var/lib/e2e-trap
[ ! -f "$dir/count" ] || printf '%s\n' "${0##*/}" >>"$dir/count"
[ -f "$dir/set" ] || exec "$real" "$@"
{ IFS= read -r pattern && IFS= read -r when && IFS= read -r file; } <"$dir/set" || exec "$real" "$@"
# shellcheck disable=SC2254 # a pattern
case "${0##*/} $*" in $pattern) ;; *) exec "$real" "$@" ;; esac
there=
for one in $file; do [ ! -e "$one" ] || there=yes; done
[ "$there" ] || exec "$real" "$@"

hold() {
	/usr/bin/mv -T "$dir/set" "$dir/held.$$" 2>/dev/null || return
	echo "$$" >"$dir/held.$$"
	/usr/bin/mv -T "$dir/held.$$" "$dir/held"
	while [ -e "$dir/held" ]; do /usr/bin/sleep 0.02; done
}

if [ "$when" = before ]; then
	hold
	exec "$real" "$@"
fi
"$real" "$@"
status=$?
hold
exit "$status"
