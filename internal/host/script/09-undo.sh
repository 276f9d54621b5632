
# --- undo: the way back, also for whoever finds a receipt ---

# undo CLASS REASON ends the verb: rolled-back when the old certificate is live again
# and the agent healthy, failed when a person is needed.
undo() {
    say step undo
    say error "$1 $2"
    [ "$start" = no ] || evidence
    [ ! -f "$state/pending" ] || mv -T -- "$state/pending" "$state/undoing"
    rm -f -- "$state/staged-$run"
    restore || give_up "the old certificate can not be put back: $why"
    [ "$start" = no ] || bring_back || give_up "the old certificate is live again, but the agent is not healthy: $why"
    [ "$sick" = no ] || give_up 'the agent was unhealthy before; everything is as it was'
    end_as rolled-back
    rm -rf -- "$state/backups/$run"
    sync -- "$state"
    say result rolled-back
    exit 0
}

give_up() {
    say undo_error "$1"
    say sick "$sick"
    end_as failed
    say result failed
    exit 0
}

# end_as gives the receipt its last name.
end_as() {
    for receipt in "$state/undoing" "$state/pending"; do
        [ ! -f "$receipt" ] || mv -T -- "$receipt" "$state/$1"
    done
}

# restore writes nothing where the bytes are right already, and leaves alone
# what somebody else has put there since.
restore() {
    place=$real
    look_at_file
    case $real:$live in
    "$place:$old") return 0 ;;
    "$place:$new" | "$place:none" | "$place:" | :*) ;;
    *) why='somebody has changed it since'; return 1 ;;
    esac
    real=$place
    why=$(put_back 2>&1) || {
        # An error is no proof that nothing happened.
        look_at_file
        [ "$live" = "$old" ] || { why=${why##*: }; return 1; }
    }
    sync -- "$ROOT${place%/*}"
}

put_back() {
    if [ "$old" = none ]; then
        rm -f -- "$ROOT$real"
        return
    fi
    backup=$state/backups/$run/certificate
    digests "$backup"
    [ "$sums" = "$old$NL" ] || { printf 'the backup is damaged'; return 1; }
    read -r random </proc/sys/kernel/random/uuid
    tmp=$ROOT${real%/*}/.aoifleet-$random
    cp -a -- "$backup" "$tmp" && sync -- "$tmp" && mv -T -- "$tmp" "$ROOT$real" && return
    rm -f -- "$tmp"
    return 1
}

# bring_back restarts only an agent that may have seen the new file, and
# watches it in either case.
bring_back() {
    unit_state
    log_mark
    # Lines of the certificate that was just taken out do not count, and what
    # was expected of the new one is not asked of the old.
    thumbprint='' expect='' replaced=none base=$restarts said=''
    if [ "$id" != "$invocation" ] || [ "$active" != "$was" ]; then
        replaced=$id base=0
        say step restart
        restart_unit || said=$why
    fi
    say step watch
    watch "$replaced" "$base" || { why=${said:-$why}; return 1; }
    evidence
}

# recover carries an interrupted transaction of any run to its end.
recover() {
    make_state || refuse disk "$state can not be made, or is not root's own"
    say step lock
    lock
    for receipt in "$state/undoing" "$state/pending"; do
        [ ! -f "$receipt" ] || settle "$receipt"
    done
    say result clean
}

# settle RECEIPT ends the verb: undone, by what the receipt says. A receipt
# that was cut short while it was written stands before any change.
settle() {
    read_values <"$1" || { rm -f -- "$1"; return; }
    rm -f -- "$ROOT${real%/*}"/.aoifleet-*
    log_mark
    undo unreachable 'the operator of an earlier run was lost'
}
