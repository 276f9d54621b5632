#!/bin/sh
# aoifleet's side on one agent VM. These files are joined in the order of their
# names into host.sh, which is sent over stdin to `sh -s` as root; it works
# under dash, bash and busybox sh with GNU coreutils.
#
# Values come as key=value lines on stdin, closed by a line `end`; results go
# out as key=value lines. Nothing is changed before all values have arrived.
# docs/host-side.md tells the whole transaction.

# --- machine ---
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
ROOT=
# --- end machine ---
LC_ALL=C
export LC_ALL
umask 077
unset IFS CDPATH ENV BASH_ENV
# A closed connection must not end a transaction half-way: it ends in an undo.
trap '' PIPE HUP

NL='
'
TAB='	'

say() { printf '%s=%s\n' "$1" "$2"; }

# refuse ends a verb before anything was changed: refuse CLASS MESSAGE.
refuse() {
    clean_up
    say error "$1 $2"
    say result refused
    exit 0
}

# need refuses a host that lacks a tool which a later step would miss.
need() {
    for tool; do
        command -v "$tool" >/dev/null || refuse configuration "the host has no $tool"
    done
}

no_values() {
    verb='' run='' owner='' unit='' config='' log='' path='' old='' new=''
    size=0 source='' thumbprint='' window=0 timeout=60 port='' swap=yes start=yes
    deny='' expect=''
    hold=0 deadman=no keep=3 max_age=90 saved='' diagnostics=0 as_root=no
    by_inventory=no real='' folder='' settings='' configured='' was='' invocation='' sick=no before='' boot='' about=''
}

# read_values reads what stdin says. In a receipt (read_values receipt) there may
# be keys of a later version.
# shellcheck disable=SC2034,SC2120 # some values are only passed on, into the receipt
read_values() {
    no_values
    while IFS= read -r line; do
        value=${line#*=}
        case $line in
        verb=*) verb=$value ;;
        run=*) run=$value ;;
        owner=*) owner=$value ;;
        unit=*) unit=$value ;;
        config=*) config=$value ;;
        log=*) log=$value ;;
        path=*) path=$value ;;
        real=*) real=$value ;;
        by_inventory=*) by_inventory=$value ;;
        folder=*) folder=$value ;;
        settings=*) settings=$value ;;
        configured=*) configured=$value ;;
        old=*) old=$value ;;
        new=*) new=$value ;;
        size=*) size=$value ;;
        source=*) source=$value ;;
        thumbprint=*) thumbprint=$value ;;
        window=*) window=$value ;;
        timeout=*) timeout=$value ;;
        port=*) port=$value ;;
        swap=*) swap=$value ;;
        start=*) start=$value ;;
        hold=*) hold=$value ;;
        deadman=*) deadman=$value ;;
        keep=*) keep=$value ;;
        max_age=*) max_age=$value ;;
        saved=*) saved=$value ;;
        diagnostics=*) diagnostics=$value ;;
        as_root=*) as_root=$value ;;
        deny=*) deny=$deny$value$NL ;;
        expect=*) expect=$expect$value$NL ;;
        # Written by this script into a receipt, for whoever has to undo.
        was=*) was=$value ;;
        invocation=*) invocation=$value ;;
        sick=*) sick=$value ;;
        boot=*) boot=$value ;;
        about=*) about=$value ;;
        before=*) before=$before$value$NL ;;
        end) return 0 ;;
        *) [ "${1:-}" = receipt ] || return 1 ;;
        esac
    done
    return 1
}
