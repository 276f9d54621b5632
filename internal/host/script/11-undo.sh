
# --- undo: the way back, also for whoever finds a receipt ---

# undo CLASS REASON ends the verb: rolled-back when the old certificate is live
# again and the agent healthy, failed when a person is needed.
undo() {
    say step undo
    say error "$1 $2"
    [ "$start" = no ] || evidence
    kept=$state/backups/$run
    [ -n "$claimed" ] || claim || await
    rm -f -- "$state/staged-$run"
    restore || give_up "the old certificate can not be put back: $why"
    [ "$start" = no ] || bring_back || [ "$sick" = yes ] || give_up "the old certificate is live again, but the agent is not healthy: $why"
    [ "$sick" = no ] || give_up 'the agent was unhealthy before; everything is as it was'
    # Before its end: whoever finds the folder then knows that it is no backup.
    rm -f -- "$kept/receipt" "$kept/certificate"
    end_as rolled-back || exit 1
    say result rolled-back
    forget
    exit 0
}

give_up() {
    say undo_error "$1"
    say sick "$sick"
    end_as failed || exit 1
    say result failed
    disarm
    exit 0
}

# lock SECONDS: whoever changes the name of a receipt, or has to be sure of it,
# holds the folder's lock; an undo until it ends. Not with a file of the run:
# who undoes it removes them. `command` keeps a shell alive that can't open it.
lock() { { command exec 6<"$state" && flock -w "$1" 6; } 2>/dev/null; }

# claim makes this process the one that undoes. The rename lets either the
# confirmation or one undo win; the lock tells a living undo from a dead one.
claim() {
    lock 0 || return 1
    if ended pending && [ ! -e "$state/undoing" ]; then
        mv -T -- "$state/pending" "$state/undoing" 2>/dev/null
    fi
    ended undoing && claimed=yes && return
    # Nobody else has to wait for one that does nothing.
    exec 6>&-
    return 1
}

# await: another process (the timer, recover) undoes this run, or has confirmed
# it; how that ends is how this run ends.
await() {
    now_up
    undo_time
    patience=$((up + (patient + timeout + window + 60) * 100))
    while now_up; [ "$up" -lt "$patience" ]; do
        open=''
        if ended pending || ended undoing; then open=yes; fi
        ! ended confirmed || { say result rotated; exit 0; }
        ! ended rolled-back || { say note 'the dead-man switch was quicker'; say result rolled-back; exit 0; }
        ! ended failed || { say note 'the dead-man switch was quicker'; say result failed; exit 0; }
        ! claim || return 0
        [ -n "$open" ] || exit 1
        sleep 0.25 6>&- 7>&-
    done
    exit 1
}

# end_as gives the receipt its last name. Where that fails the switch stays, to
# try again.
end_as() {
    mv -T -- "$state/undoing" "$state/$1" 2>/dev/null || ended "$1" || return
    sync -- "$state"
    return 0
}

# restore writes nothing where the bytes are right already, and leaves alone what
# others have put there since: another file, or a link to one.
restore() {
    stays=yes
    why="the folder of $path is not the one that it was"
    { walk "${real%/*}" && [ "$walked" = "${real%/*}" ]; } || return 1
    folders=$folders$ROOT$walked/$NL
    look_in_place && digest_of_live
    same_folder || return 1
    sweep
    if [ -L "./$leaf" ] && [ -z "$astray" ]; then live='link'; fi
    case $live in
    "$old") [ "$kind" = other ] || { landed_before; return 0; } ;;
    "$new" | none | '') ;;
    *) why='it was changed since, and not by this run'; return 1 ;;
    esac
    why=$(put_back 2>&1) || {
        # An error is no proof that nothing happened.
        look_in_place && digest_of_live
        if [ "$kind" = other ] || [ "$live" != "$old" ]; then
            why=${why##*: }
            not_for_now
            return 1
        fi
    }
    landed_before
    sync -- .
}

# same_folder: is the script in the folder that the transaction was in? A device may
# have another number after a boot.
same_folder() {
    [ -n "$here" ] || return
    read -r now_boot <"$ROOT/proc/sys/kernel/random/boot_id"
    # A receipt of an earlier version has none.
    case $folder in '' | "$here") return 0 ;; esac
    [ "$now_boot" != "$boot" ] && [ "${folder%%:*}:${folder##*:}" = "${here%%:*}:${here##*:}" ]
}

# landed_before: what the watch after an undo finds live.
landed_before() { ours=$old file_known='' configured=''; }

put_back() {
    if [ "$old" = none ]; then
        rm -f -- "./$leaf"
        return
    fi
    backup=$kept/certificate
    digests "$backup" 2>/dev/null
    [ "$sums" = "$old$NL" ] || { printf 'the backup is damaged'; return 1; }
    if beside "$backup" && flush "$tmp" && put_in_place; then
        [ -z "$guarded" ] || landed "$backup" "$old" || { printf 'another file was put in its place'; return 1; }
        return 0
    fi
    rm -f -- "$tmp"
    return 1
}

# not_for_now: with nobody there to see a failure (a full disk, say), the next
# tick tries again.
not_for_now() {
    [ -n "$ticking" ] && [ "$why" != 'the backup is damaged' ] || return 0
    say undo_error "$why"
    exit 1
}

# bring_back restarts only an agent that may have seen the new file, and
# watches it in either case.
bring_back() {
    unit_state
    undo_time
    come_to_rest
    ! was_stopped || give_up "the old certificate is live again; $unit was left stopped"
    halted=''
    [ -z "$unsure" ] || say note "$unit is stopped, and systemd does not tell by whom: it is started again"
    mark_log
    # Lines of the certificate that was just taken out do not count, and what
    # was expected of the new one is not asked of the old.
    thumbprint='' expect='' replaced=none base=$restarts said=''
    if [ "$active" != "$was" ] || { [ "$id" != "$invocation" ] && started_before_the_file; }; then
        replaced=$id base=0
        say step restart
        told=$timeout timeout=$patient
        restart_unit || said=$why
        timeout=$told
    fi
    say step watch
    watch "$replaced" "$base" || { why=${said:-$why}; return 1; }
    evidence
}

# started_before_the_file: the process that runs may have read another file
# than the one that is there now. Hundredths of seconds; the kernel stamps files
# with a clock that lags by up to one tick. The time since boot is read last, so
# that a slow machine makes the process older, and never younger.
started_before_the_file() {
    # No file tells nothing.
    changed=$(stat -c %.2Z -- "$ROOT$real" 2>/dev/null) || return 0
    both_clocks
    [ $((now - up + started / 10000)) -le $((${changed%.*}${changed#*.} + 2)) ]
}

# recover carries an interrupted transaction of any run to its end, and removes
# what runs that ended have left.
recover() {
    own_folder
    make_state || refuse disk "$state can not be made, or is not root's own"
    say step lock
    in_each settle_first
    say step clean
    in_each clean_folder
    sweep_work
    as_caller find . "$ROOT/tmp" -maxdepth 1 -name '.aoifleet-*' -mmin +60 -exec rm -rf -- {} + >/dev/null 2>&1
    say result clean
}

# settle_first: twice, as it may change from one name to the other just now.
settle_first() {
    for receipt in undoing pending undoing; do
        [ ! -f "$state/$receipt" ] || settle "$receipt"
    done
}

clean_folder() {
    for left in "$state"/backups/*/receipt "$state"/backups/*/host.sh "$state"/backups/*/deadline; do
        kept=${left%/*}
        run=${kept##*/}
        [ ! -f "$left" ] || goes_on || no_switch
    done
    find "$state" "$state/backups" -maxdepth 1 \( -name 'staged-*' -mmin +1440 -o -name 'diags-*' -mmin +60 -o -path "$state/backups/*" -empty -mmin +60 \) -exec rm -rf -- {} +
}

# settle RECEIPT ends the verb: undone, by what the receipt says, unless its
# run is at work. A receipt that was cut short while it was written stands
# before any change.
settle() {
    read_values receipt <"$state/$1" || {
        of_receipt "$state/$1"
        ! alive "$state/backups/$of" || refuse locked "$(whose "$state/$1")"
        rm -f -- "$state/$1"
        unit=${state##*/}
        return
    }
    kept=$state/backups/$run
    if [ "$1" = pending ]; then ! at_work || refuse locked "$(whose "$state/$1")"; fi
    # Its time is over, and it may go on one day: the undo takes its receipt.
    ! alive "$kept" || say receipt_pid "$worker"
    look_before
    undo unreachable "the operator of run $run was lost"
}

# look_before is for the evidence of an undo by another process.
look_before() {
    unit_state
    mark_log
}

mark_log() {
    find_log
    look_at_files
    log_mark
}

# at_work: the process of the run lives, and its time is not up.
at_work() { alive "$kept" && ! overdue; }
