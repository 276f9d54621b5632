
# --- backup: everything that an undo needs, and the new files ---

# back_up writes everything that an undo needs, and the new file next to the old one;
# after the sync only renames remain. The receipt is first, so that a later cleanup knows
# the folders.
back_up() {
    kept=$state/backups/$run
    [ ! -e "$kept" ] || refuse locked "run $run already exists on this host"
    read -r boot <"$ROOT/proc/sys/kernel/random/boot_id"
    [ -n "$boot" ] || refuse command 'the host has no boot id'
    # A rehearsal's end removes empty folders. Of two runs with one name only one creates $kept.
    { make_state && mkdir -- "$kept" 2>/dev/null; } || [ ! -e "$kept" ] || refuse locked "run $run already exists on this host"
    [ -d "$kept" ] || refuse disk "cannot write in $state"
    made=$kept
    { text=$(receipt) && printf '%s\n' "$text" >"$kept/receipt"; } 2>/dev/null || refuse disk "cannot write in $state"
    # This process holds the lock until it ends, which shows that the run is alive.
    { command exec 7<"$kept/receipt" && flock -n 7; } 2>/dev/null || refuse disk "cannot lock files in $state"
    extend
    create_pending
    each_file save_file
    offset=0
    each_file prepare_file
    set --
    if [ -n "$package" ]; then
        save_package
        set -- "$kept/package.old" "$kept/package.new"
    fi
    if [ "$deadman" = yes ]; then
        prepare_deadman
        set -- "$@" "$kept/host.sh" "$guard" "$units"
        for target in $wanted; do set -- "$@" "$units/$target.wants"; done
    fi
    with_copies flush "$@" "$kept/receipt" "$kept" "$state/backups" "$state" 2>/dev/null || refuse disk 'cannot sync the backup to disk'
}

# save_file saves the current file, and removes the leftovers next to it: no other run uses
# the folder now.
save_file() {
    in_folder || folder_replaced
    if [ "$old" != none ]; then keep_old 2>/dev/null || refuse disk "cannot save the old ${what:-certificate}"; fi
    if [ "$swap" = no ] || [ "$new" = none ]; then return 0; fi
    if [ -n "$saved" ]; then
        origin=''
        in_each find_saved
        [ -f "$origin" ] || refuse drift "the backup of run $saved does not exist"
    fi
    for left in ./.aoifleet-*; do
        if [ -e "$left" ] || [ -L "$left" ]; then sweep; fi
        break
    done
}

# prepare_file puts the new file next to the current one, and checks the digests. What is
# the last file's is synced with the receipt.
prepare_file() {
    in_folder || folder_replaced
    if [ "$swap" = yes ] && [ "$new" != none ]; then
        new_file 2>/dev/null || { check_old; refuse disk "cannot write a file in ${real%/*}"; }
    fi
    with_copies digests
    right_digests
    if [ "$sums" != "$right" ]; then
        check_old
        refuse disk 'the backup differs from the file that was saved'
    fi
    [ "$nth" = "$files" ] || with_copies flush "$kept" 2>/dev/null || refuse disk 'cannot sync the backup to disk'
}

folder_replaced() { refuse drift "the folder of $path was replaced since it was checked"; }

# check_old refuses if the file has changed: another run has ended since the check, and
# its end removed the file that was staged for this one.
check_old() {
    stat_here && digest_of_live
    [ "$live" = "$old" ] || file_changed
}

# find_saved sets $origin to the backup of the current file in $state. It is only restored to the
# place from which it was saved: otherwise the helper's login user could read, as a certificate,
# what only root may.
find_saved() {
    [ -f "$state/backups/$saved/receipt" ] || return 0
    suffix=''
    while IFS= read -r line; do
        case $line in
        file=*) suffix=.${line#*=} ;;
        "real=$real")
            origin=$state/backups/$saved/certificate$suffix
            return
            ;;
        deny=* | before=* | end) break ;;
        esac
    done <"$state/backups/$saved/receipt"
    refuse drift "the backup of run $saved is not of $path"
}

# create_pending takes the lock: link(2) fails if the name exists, and creates a complete
# file. If ln reports an error but the receipt has two names, the link was created.
create_pending() {
    said=$(ln -T -- "$kept/receipt" "$state/pending" 2>&1) && mine=yes
    [ -n "$mine" ] || [ "$(stat -c %h -- "$kept/receipt")" = 1 ] || mine=yes
    [ -n "$mine" ] || [ ! -f "$state/pending" ] || refuse locked "$(lock_holder "$state/pending")"
    [ -n "$mine" ] || refuse disk "cannot create the receipt: ${said##*: }"
    # Since the first check an undo may have renamed its receipt, or another unit started.
    check_locks
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
    right=''
    [ "$old" = none ] || right=$old$NL
    [ "$swap" = no ] || [ "$new" = none ] || right=$right$new$NL
}

# receipt prints what an undo needs, also a later one by another process. The keys for
# read_receipt are first, the run is in the first line (has_state). Its status is the last printf's.
receipt() {
    use_file 1
    for key in run owner old new; do eval "say $key \"\$$key\""; done
    [ "$files" = 1 ] || say files "$files"
    [ -z "$what" ] || say what "$what"
    [ -z "$package" ] || receipt_of_package
    for key in boot about unit log path real folder thumbprint window timeout port swap start hold deadman was invocation sick rehearsal; do
        eval "say $key \"\$$key\""
    done
    receipt_of_others
    set -f
    IFS=$NL
    for line in $deny; do say deny "$line"; done
    for line in $before; do say before "$line"; done
    unset IFS
    set +f
    printf 'end\n'
}
