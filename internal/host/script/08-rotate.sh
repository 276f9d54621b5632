
# --- rotate: back up, swap, restart, watch, confirm; or undo ---

rotate() {
    say step lock
    make_state || refuse disk "$state can not be made, or is not root's own"
    lock
    { [ ! -f "$state/pending" ] && [ ! -f "$state/undoing" ]; } || refuse locked "$(holder_of) was interrupted on this host; run rotate again"
    say step check
    check
    say step backup
    back_up
    if [ "$swap" = yes ]; then
        say step swap
        swap
    fi
    if [ "$start" = yes ]; then
        say step restart
        log_mark
        restart_unit || undo unhealthy "$why"
        say step watch
        watch "$invocation" 0 || undo unhealthy "$why"
        evidence
        say proof "$proof"
    fi
    say verdict healthy
    # The operator's word. End of input means that there is nobody any more.
    IFS= read -r answer <&3 || answer='undo contact with the operator was lost'
    [ "$answer" = "confirm $run" ] || undo unhealthy "${answer#undo }"
    confirm
}

# lock: one run at a time. The kernel drops the lock of a process that died, so
# a receipt that is found under it is nobody's.
lock() {
    exec 7>"$state/lock"
    flock -n 7 || refuse locked "$(holder_of) is at work on this host"
}

holder_of() {
    run_id=$(grep -h -m 1 '^run=' "$state/pending" "$state/undoing" 2>/dev/null)
    run_of=$(grep -h -m 1 '^owner=' "$state/pending" "$state/undoing" 2>/dev/null)
    [ -n "$run_id" ] || run_id='another run'
    printf '%s' "run ${run_id#run=}${run_of:+ of }${run_of#owner=}"
}

check() {
    patterns_work
    expected=$real
    look_at_file
    case $kind in
    nodir) refuse configuration "the folder of $path does not exist" ;;
    other) refuse configuration "$path is not a regular file" ;;
    esac
    [ "$real" = "$expected" ] || refuse drift "$path leads to $real now, not to $expected"
    [ "$live" = "$old" ] || refuse drift "$path is not the file that was seen before"
    unit_state
    safe_path || refuse configuration "others than root and the file's owner can write the folder $unsafe"
    [ "$load" = loaded ] || refuse agent_not_running "$unit is ${load:-not known to systemd}"
    [ "$start" = no ] || [ "$active" != inactive ] || refuse agent_not_running "$unit was stopped meanwhile"
    was=$active invocation=$id
    log_mark
    log_before
    sick=no
    case $was:$sub in
    *:auto-restart) sick=yes ;;
    active:* | reloading:* | activating:*) [ -z "$(denied_lately)" ] || sick=yes ;;
    *) sick=yes ;;
    esac
    [ "$start" = yes ] || sick=no
}

# back_up writes everything that is needed to undo, and the new file beside the
# old one; after the sync nothing but renames is left to do. The receipt comes
# before the new file, so that whoever finds it knows where to clean up.
back_up() {
    [ ! -e "$state/backups/$run" ] || refuse locked "run $run was here already"
    kept=$state/backups/$run
    { mkdir -- "$kept" && receipt >"$kept/receipt"; } 2>/dev/null || refuse disk "nothing can be written in $state"
    set --
    if [ "$old" != none ]; then
        cp -a -- "$ROOT$real" "$kept/certificate" 2>/dev/null || refuse disk 'the old certificate can not be saved'
        set -- "$kept/certificate"
    fi
    arm
    if [ "$swap" = yes ]; then
        { new_file && cat -- "$state/staged-$run" >"$tmp"; } 2>/dev/null || refuse disk "no file can be written in ${real%/*}"
        set -- "$@" "$tmp"
    fi
    digests "$@"
    [ "$sums." = "$(right_digests)" ] || refuse disk 'the backup is not what was saved'
    sync -- "$@" "$kept/receipt" "$kept" "$state/backups" "$state" 2>/dev/null || refuse disk 'the backup can not be written to disk'
}

# arm: link(2) fails where the name is taken: whole and exclusive in one step.
# Where ln fails all the same, a second name of the receipt is ours.
arm() {
    said=$(ln -T -- "$kept/receipt" "$state/pending" 2>&1) && { mine=yes; return; }
    [ "$(stat -c %h -- "$kept/receipt")" = 1 ] || mine=yes
    refuse disk "the receipt can not be made: ${said##*: }"
}

digests() {
    sums=''
    [ $# -gt 0 ] || return 0
    IFS=$NL
    for line in $(sha256sum -- "$@"); do
        line=${line#\\}
        sums=$sums${line%% *}$NL
    done
    unset IFS
}

right_digests() {
    [ "$old" = none ] || printf '%s\n' "$old"
    [ "$swap" = no ] || printf '%s\n' "$new"
    printf .
}

# receipt: what an undo has to know, also one by another process, later.
receipt() {
    for key in run owner unit log path real old new thumbprint window timeout port swap start was invocation sick; do
        eval "say $key \"\$$key\""
    done
    set -f
    IFS=$NL
    for line in $deny; do say deny "$line"; done
    for line in $before; do say before "$line"; done
    unset IFS
    set +f
    printf 'end\n'
}

# swap: rename(2) is the moment of change.
swap() {
    said=$(mv -T -- "$tmp" "$ROOT$real" 2>&1) && { tmp=''; return; }
    look_at_file
    [ "$live" = "$old" ] || undo command "the file can not be replaced: ${said##*: }"
    refuse command "the file can not be replaced: ${said##*: }"
}

confirm() {
    mv -T -- "$state/pending" "$state/confirmed" || [ ! -f "$state/pending" ] || undo command 'the receipt can not be confirmed'
    sync -- "$state" "$ROOT${real%/*}"
    rm -f -- "$state/staged-$run"
    prune
    say result rotated
    exit 0
}

# prune: backups hold private keys; the newest three stay (their names sort by
# time).
prune() {
    set -- "$state"/backups/*
    while [ $# -gt 3 ]; do
        rm -rf -- "$1"
        shift
    done
}
