
# --- undo: restore the old certificate, also by another process ---

# undo CLASS REASON ends the verb: rolled-back if the old certificate is restored and the
# agent healthy, failed if the operator must act.
undo() {
    say step undo
    say error "$1 $2"
    [ "$start" = no ] || send_evidence
    kept=$state/backups/$run
    [ -n "$claimed" ] || claim || await
    rm -f -- "$state/staged-$run"
    : "${what:=certificate}"
    [ "$files" = 1 ] || { what='set of files' && rm -f -- "$kept"/new.*; }
    [ -z "$package" ] || restore_package
    restore || { [ -z "$package" ] || start_anyway; fail_undo "cannot restore the old $what: $why"; }
    [ "$start" = no ] || restart_old || [ "$sick" = yes ] || fail_undo "the old $what is restored, but the agent is unhealthy: $why"
    [ -z "$unsynced" ] || each_file sync_again || { retry_later; fail_undo "the old $what is restored, but a power failure may lose it: $why"; }
    [ "$sick" = no ] || fail_undo 'the agent was unhealthy before; everything is restored'
    # Before the rename: a later cleanup then sees that the folder is not a backup.
    rm -f -- "$kept/receipt" "$kept"/certificate*
    finish_as rolled-back || exit 1
    [ "$rehearsal" = yes ] || say result rolled-back
    remove_run
    exit 0
}

fail_undo() {
    say undo_error "$1"
    say sick "$sick"
    finish_as failed || exit 1
    if [ "$rehearsal" = yes ]; then remove_run; exit 0; fi
    say result failed
    disarm "$state/staged-$run"
    exit 0
}

# undo_unhealthy REASON gathers diagnostics, if requested, and undoes the run. It also
# undoes it if no diagnostics can be gathered.
undo_unhealthy() {
    [ -z "$halted" ] || undo agent_not_running "$1"
    if [ "$diagnostics" -gt 0 ]; then
        say step diagnostics
        # The dead-man switch waits for the tool, its time-outs and the copy too.
        extra=$((diagnostics + $(copy_time) + 65))
        hold=$((hold + extra))
        extend
        hold=$((hold - extra))
        # Never as root: the operator was not asked.
        as_root=no
        (exec 7>&- && diags_places && { gather || { say note "no diagnostics: ${why#* }"; exit 1; }; }) &&
            say gathered yes
        extend
    fi
    undo "${class:-unhealthy}" "$1"
}

# lock SECONDS takes the folder's lock, which is needed to rename a receipt or to rely on
# its name; an undo holds it until it ends. It is not on a file of the run, which an undo
# removes. `command` keeps the shell alive if the open fails.
lock() { { command exec 6<"$state" && flock -w "$1" 6; } 2>/dev/null; }

# claim makes this process the one that undoes the run. The rename lets either the
# confirmation or one undo win; the lock distinguishes a running undo from a dead one.
claim() {
    lock 0 || return 1
    if has_state pending && [ ! -e "$state/undoing" ]; then
        mv -T -- "$state/pending" "$state/undoing" 2>/dev/null
    fi
    has_state undoing && claimed=yes && return
    # Others must not wait for this process.
    exec 6>&-
    return 1
}

# await waits while another process (the timer, recover) undoes this run, and ends with
# its result.
await() {
    now_up
    undo_time
    value=0
    [ -z "$package" ] || value=1260 # an installation, see limits.go
    wait_until=$((up + (value + undo_wait + timeout + window + 60) * 100))
    while now_up; [ "$up" -lt "$wait_until" ]; do
        open=''
        if has_state pending || has_state undoing; then open=yes; fi
        ! has_state confirmed || { sync -- "$state"; say result rotated; exit 0; }
        ! has_state rolled-back || { say note 'the dead-man switch was quicker'; say result rolled-back; exit 0; }
        ! has_state failed || { say note 'the dead-man switch was quicker'; say result failed; exit 0; }
        ! has_state rehearsed || { say_rehearsed; exit 0; }
        ! claim || return 0
        [ -n "$open" ] || exit 1
        sleep 0.25 6>&- 7>&-
    done
    exit 1
}

# finish_as STATE gives the receipt its last name. If that fails, the dead-man switch
# stays, and retries.
finish_as() {
    [ "$rehearsal" = no ] || { end_rehearsal "$1"; set -- rehearsed; }
    mv -T -- "$state/undoing" "$state/$1" 2>/dev/null || has_state "$1" || return
    sync -- "$state"
    return 0
}

# rehearsal_file sets $real to the copy if this run is a rehearsal. The receipt has the
# live file, which keeps other runs away from it.
# A sweep of any version removes that name.
rehearsal_file() { [ "$rehearsal" = no ] || each_file name_copy; }
name_copy() { real=${real%/*}/.aoifleet-rehearsal-$run${copy#certificate}; }

# end_rehearsal removes the copy and reports the result: to the log if the timer has
# undone it, otherwise of this verb. This precedes the rename, for which rehearse waits.
end_rehearsal() {
    each_file remove_copy
    case $ticking:$1 in
    yes:rolled-back) say result rehearsed ;;
    yes:*) say result "$1" ;;
    *) say_rehearsed ;;
    esac
}

# say_rehearsed prints the result of this verb, rehearse or recover, after an undo.
say_rehearsed() { if [ "$verb" = rehearse ]; then say result refused; else say result clean; fi; }

# at_boot reports whether a rehearsal wants the guard to act as after a boot, once.
at_boot() { [ "$1" != timer ] && [ -f "$kept/boot" ] && rm -- "$kept/boot"; }

# restore puts the old files back. A failed write may have a cause that passes, so it tries
# a second time. If it fails, $why has the reason. It succeeds if only the sync fails
# ($unsynced): the agent must get the old file nevertheless.
restore() {
    try_restore && return
    [ -n "$passing" ] || return 1
    sleep 1 6>&- 7>&-
    try_restore && return
    [ -z "$unsynced" ] || return 0
    retry_later
    return 1
}

# try_restore restores all files, the last one first, also if it fails for one: then $why
# has the first reason. It sets $passing and $unsynced like restore_file, $unsynced only if
# all files are restored.
try_restore() {
    turn=$files reason='' again='' lost=''
    while [ "$turn" -gt 0 ]; do
        use_file "$turn"
        turn=$((turn - 1))
        restore_file && continue
        [ "$files" = 1 ] || why="$path: $why"
        : "${reason:="$why"}"
        again=$again$passing
        [ -n "$unsynced" ] || lost=yes
    done
    [ -n "$reason$again$lost" ] || return 0
    why=$reason passing=$again
    if [ -n "$lost" ]; then unsynced=''; else unsynced=yes; fi
    return 1
}

# restore_file restores the current file. It writes nothing if the bytes are already right,
# and does not touch what others have put there since: another file, or a link. It sets
# $passing if the disk, or a program, has failed, $unsynced if only the sync has.
restore_file() {
    stays=yes passing='' unsynced=''
    # After a boot, its file system may be mounted later.
    [ "${now_boot:-$boot}" = "$boot" ] || passing=yes
    why="the folder of $path was replaced"
    enter_folder && digest_of_live
    same_folder || return 1
    passing=''
    sweep
    if [ -L "./$leaf" ] && [ -z "$intruder" ]; then live='link'; fi
    case $live in
    # An undo that was interrupted may have restored it without a sync.
    # If only owner or mode are new, the bytes don't tell.
    "$old") [ "$kind" = other ] || [ "$swap:$new" = "yes:$old" ] || { restored; return; } ;;
    "$new" | none | '') ;;
    *) why='it was changed since, not by this run'; return 1 ;;
    esac
    why=$(put_back 2>&1) || {
        # An error is no proof that nothing happened.
        stat_here && digest_of_live
        if [ "$kind" = other ] || [ "$live" != "$old" ]; then
            [ "$why" = 'the backup is damaged' ] || passing=yes
            why=${why##*: }
            return 1
        fi
    }
    restored
}

# restored sets what the watch after an undo expects as the live file, and syncs it.
restored() {
    ours=$old file_known='' configured='' unsynced=''
    why=$(sync -- . 2>&1) && return
    why="cannot sync its folder: ${why##*: }" passing=yes unsynced=yes
    return 1
}

sync_again() { in_folder && restored; }

# same_folder reports whether the current folder is the transaction's. A device may have
# another number after a reboot.
same_folder() {
    [ -n "$here" ] || return
    read -r now_boot <"$ROOT/proc/sys/kernel/random/boot_id"
    # A receipt of an earlier version has no folder.
    case $folder in '' | "$here") return 0 ;; esac
    [ "$now_boot" != "$boot" ] && [ "${folder%%:*}:${folder##*:}" = "${here%%:*}:${here##*:}" ]
}

put_back() {
    if [ "$old" = none ]; then
        rm -f -- "./$leaf"
        return
    fi
    backup=$kept/$copy
    digests "$backup" 2>/dev/null
    # Without a digest it could not be read, which may pass.
    [ -n "$sums" ] || [ ! -e "$backup" ] || { printf 'the backup cannot be read'; return 1; }
    [ "$sums" = "$old$NL" ] || { printf 'the backup is damaged'; return 1; }
    if beside "$backup" && flush "$tmp" && put_in_place; then
        [ -z "$guarded" ] || in_place "$backup" "$old" || { printf 'another file has replaced it'; return 1; }
        return 0
    fi
    rm -f -- "$tmp"
    return 1
}

# retry_later ends the script in an unattended undo, so that the next tick retries, for
# example after a full disk. An agent that the hold keeps from starting does not wait for that.
retry_later() {
    [ -n "$ticking" ] && [ -n "$passing" ] || return 0
    [ -z "$package" ] || start_anyway
    say undo_error "$why"
    exit 1
}

# restart_old restarts the agent only if it may have read the new file, and watches it in
# either case.
restart_old() {
    [ -z "$package" ] || lift_hold
    unit_state
    undo_time
    wait_for_stop
    unsure=''
    # A package's own scripts stop the agent too.
    { [ -n "$touched" ] && [ -z "$halted" ]; } || ! was_stopped || fail_undo "the old $what is restored; $unit was left stopped"
    halted=''
    [ -z "$unsure" ] || say note "$unit is stopped, and systemd does not report by whom: it is started again"
    mark_log
    # Lines that name the removed certificate don't count; the expected lines, the proof and the
    # new port are for the new files only.
    thumbprint='' expect='' require='' proof_timeout=0 new_port='' replaced=none base=$restarts said=''
    if [ "$active" != "$was" ] || [ -n "$touched" ] || { [ "$id" != "$invocation" ] && older_than_file; }; then
        replaced=$id base=0
        say step restart
        usual=$timeout timeout=$undo_wait
        restart_unit || said=$why
        timeout=$usual
    fi
    say step watch
    watch "$replaced" "$base" || { why=${said:-$why}; return 1; }
    send_evidence
}

# older_than_file reports whether the running process may have started before the last
# change of a live file. Times are hundredths of a second; the kernel stamps files with
# a clock that lags by up to one tick. The time since boot is read last, so that on a slow
# machine the process seems older, never younger.
older_than_file() {
    reals=''
    each_file add_changed
    set -f
    IFS=$NL
    # If a time is unknown, the answer is yes.
    # shellcheck disable=SC2086 # one file a line
    changed=$(stat -c %.2Z -- $reals 2>/dev/null) || changed=''
    unset IFS
    set +f
    [ -n "$changed" ] || return 0
    both_clocks
    for line in $changed; do
        [ $((now - up + started / 10000)) -gt $((${line%.*}${line#*.} + 2)) ] || return 0
    done
    return 1
}

# add_changed adds the current file to $reals, or its folder, which has changed when the file
# was removed.
add_changed() { if [ -e "$ROOT$real" ]; then add_real; else reals=$reals$ROOT${real%/*}/$NL; fi; }

# recover ends an interrupted transaction of any run, and removes the leftovers of ended
# runs.
recover() {
    use_own_folder
    make_state || refuse disk "cannot create $state, or root does not own it"
    say step lock
    in_each recover_unit
    say step clean
    in_each clean_folder
    sweep_work
    as_caller find . "$ROOT/tmp" -maxdepth 1 -name '.aoifleet-*' -mmin +60 -exec rm -rf -- {} + >/dev/null 2>&1
    say result clean
}

# recover_unit checks one name twice, because the receipt may be renamed meanwhile.
recover_unit() {
    for receipt in undoing pending undoing; do
        [ ! -f "$state/$receipt" ] || recover_receipt "$receipt"
    done
}

clean_folder() {
    clean_runs "$state"/backups/*/receipt "$state"/backups/*/host.sh "$state"/backups/*/deadline
    clean_guards
    find "$state" "$state/backups" -maxdepth 1 \( -name 'staged-*' -mmin +1440 -o -name 'diags-*' -mmin +60 -o -name 'rehears*' -mmin +60 -o -name 'fetch-*' -mmin +60 -o -path "$state/backups/*" -empty -mmin +60 \) -exec rm -rf -- {} +
}

# recover_receipt RECEIPT ends the verb with an undo as the receipt describes it, unless
# its run is in progress. If the receipt is incomplete, the run has not changed anything.
recover_receipt() {
    read_values receipt <"$state/$1" || {
        read_receipt "$state/$1"
        ! alive "$state/backups/$its_run" || refuse locked "$(lock_holder "$state/$1")"
        rm -f -- "$state/$1"
        unit=${state##*/}
        return
    }
    kept=$state/backups/$run
    # A rehearsal goes on after its guard has undone it.
    if [ "$1:$rehearsal" != undoing:no ]; then ! at_work || refuse locked "$(lock_holder "$state/$1")"; fi
    # Its time is over, but it may continue later: the undo takes its receipt.
    ! alive "$kept" || say receipt_pid "$worker"
    rehearsal_file
    set_marks
    undo unreachable "contact with the operator of run $run was lost"
}

# set_marks prepares the evidence of an undo by another process.
set_marks() {
    unit_state
    mark_log
}

mark_log() {
    find_log
    stat_all
    log_mark
}

# at_work reports whether the process of the run is alive and its time is not over.
at_work() { alive "$kept" && ! overdue; }
