#!/bin/sh
# aoifleet's side on one agent VM. These files are joined in the order of their
# names into host.sh, which is sent over stdin to `sh -s` as root; it works
# under dash, bash and busybox sh with GNU coreutils.
#
# Values come as key=value lines on stdin, closed by a line `end`; results go
# out as key=value lines. Nothing is changed before all values have arrived.
# docs/host-side.md describes the transaction.

# --- machine ---
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
ROOT=
# --- end machine ---
LC_ALL=C
export LC_ALL
umask 077
unset IFS CDPATH ENV BASH_ENV
# A closed connection must not kill a transaction half-way: the script undoes it.
trap '' PIPE HUP

NL='
'
TAB='	'

say() { printf '%s=%s\n' "$1" "$2"; }

# refuse CLASS MESSAGE ends a verb before it has changed anything.
refuse() {
    clean_up
    say error "$1 $2"
    say result refused
    exit 0
}

# need TOOL... refuses a host on which a tool is missing.
need() {
    for tool; do
        command -v "$tool" >/dev/null || refuse configuration "the host has no $tool"
    done
}

reset_values() {
    verb='' run='' owner='' unit='' config='' log='' path='' old='' new=''
    size=0 source='' thumbprint='' window=0 timeout=60 port='' swap=yes start=yes
    deny='' expect='' pipelines='"' proof_timeout=0 require='' configuration=no
    what='' new_port='' also='' whole=no
    hold=0 deadman=no keep=3 max_age=90 saved='' diagnostics=0 as_root=no
    nth=1 files=1 copy=certificate length=0 new_owner='' new_mode='' live_leaf=''
    package='' manager='' version_old='' version_new='' package_old='' package_new='' package_saved='' was_enabled='' refresh=no
    by_inventory=no real='' folder='' settings='' configured='' was='' invocation='' sick=no rehearsal=no before='' boot='' about='' ask='' salt=''
}

# read_values reads the values on stdin. With the argument receipt it ignores
# unknown keys: a later version may have written them.
# shellcheck disable=SC2034,SC2120 # some values only go into the receipt
read_values() {
    reset_values
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
        configuration=*) configuration=$value ;;
        what=*) what=$value ;;
        also=*) also=$also$value$NL ;;
        whole=*) whole=$value ;;
        # The values of another file follow.
        'file=0') use_file 0 ;;
        file=*) next_file ;;
        length=*) length=$value ;;
        new_owner=*) new_owner=$value ;;
        new_mode=*) new_mode=$value ;;
        old=*) old=$value ;;
        new=*) new=$value ;;
        size=*) size=$value ;;
        source=*) source=$value ;;
        thumbprint=*) thumbprint=$value ;;
        window=*) window=$value ;;
        timeout=*) timeout=$value ;;
        port=*) port=$value ;;
        new_port=*) new_port=$value ;;
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
        ask=*) ask=$ask$value$NL ;;
        salt=*) salt=$value ;;
        pipeline=*) pipelines=$pipelines$value\" ;;
        proof_timeout=*) proof_timeout=$value ;;
        require=*) require=$value ;;
        package=*) package=$value ;;
        manager=*) manager=$value ;;
        version_old=*) version_old=$value ;;
        version_new=*) version_new=$value ;;
        package_old=*) package_old=$value ;;
        package_new=*) package_new=$value ;;
        package_saved=*) package_saved=$value ;;
        refresh=*) refresh=$value ;;
        was_enabled=*) was_enabled=$value ;;
        # This script writes these into a receipt, for an undo.
        was=*) was=$value ;;
        invocation=*) invocation=$value ;;
        sick=*) sick=$value ;;
        rehearsal=*) rehearsal=$value ;;
        boot=*) boot=$value ;;
        about=*) about=$value ;;
        before=*) before=$before$value$NL ;;
        end) use_file 1; return 0 ;;
        *) [ "${1:-}" = receipt ] || return 1 ;;
        esac
    done
    return 1
}
