
# --- the dead-man switch ---
#
# If no confirmation arrives in time, a transient timer undoes the run. After a reboot the
# timer is gone: then a guard unit, which only the next boot reads, restores the old file
# before the agent starts; if it fails, it starts a timer. Both run the copy of this script
# next to the backup.

deadman_names() {
    name=${unit%.service}
    case $name in *@*) name=${name%%@*}-${name#*@} ;; esac
    timer=aoifleet-undo-$name-$run
    units=$ROOT/etc/systemd/system
    guard=$units/aoifleet-guard-$name-$run.service
    undo_log=$state/undo.log
    [ "$rehearsal" = no ] || undo_log=$state/rehearsal-$run.log
}

# prepare_deadman writes the copy of this script ($self is its text without the machine
# block) and the guard.
# shellcheck disable=SC2154
prepare_deadman() {
    deadman_names
    # systemd treats some of them as the end of a line.
    each_file printable_folder
    command -v systemd-run >/dev/null || refuse configuration 'cannot arm the dead-man switch: no timer, systemd-run is missing'
    [ -n "$wanted" ] || [ "$start" = no ] || refuse configuration "cannot arm the dead-man switch: no boot guard, no target wants $unit"
    {
        printf '%s\n' "PATH=$PATH" 'export PATH' "ROOT=$ROOT" "$self" "command exec >>'$undo_log' 2>&1" "unattended '$unit' '$run' \"\$@\"" >"$kept/host.sh" &&
            guard_unit >"$guard" && guard_links
    } 2>/dev/null || refuse configuration "cannot arm the dead-man switch: no boot guard, cannot write in $units"
}

printable_folder() {
    case ${real%/*} in *[[:cntrl:]]*) refuse configuration "the folder of the certificate has a control character in its path" ;; esac
}

# guard_unit prints a oneshot unit that runs before the agent. It never restarts the agent,
# because that job would wait for the guard. daemon-reload is not needed: only the next
# boot reads the unit. If the run had ended before, the guard removes its script: then what
# follows it may fail, and the unit must not stay in systemd's list as failed.
guard_unit() {
    escape "$kept"
    home=$text mounts=''
    hold_names
    each_file add_mount
    printf '%s\n' "[Unit]
Description=Restores the old certificate of $unit after an interrupted rotation
Before=$unit
RequiresMountsFor=\"$home\"$mounts
ConditionPathExists=|$state/pending
ConditionPathExists=|$state/undoing${package:+${NL}ConditionPathExists=|$drop_in}

[Service]
Type=oneshot
TimeoutStartSec=120
ExecStart=/bin/sh \"$home/host.sh\"
ExecStopPost=-/bin/sh \"$home/host.sh\" stopped"
}

add_mount() {
    escape "$ROOT${real%/*}"
    mounts="$mounts \"$text\""
}

# escape PATH sets $text to it, for double quotes in a unit file (systemd.syntax(7)).
escape() {
    case $1 in
    *[\\\"%]*) text=$(printf '%s' "$1" | sed 's/[\\"]/\\&/g; s/%/%%/g') ;;
    *) text=$1 ;;
    esac
}

guard_links() {
    for target in $wanted; do
        [ -d "$units/$target.wants" ] || mkdir -- "$units/$target.wants" || return
        ln -sfT -- "$guard" "$units/$target.wants/${guard##*/}" || return
    done
}

# start_timer SECONDS starts the timer. Without AccuracySec it would fire up to a minute
# late (systemd.timer(5)). RuntimeMaxSec ends a tick that hangs; another follows.
start_timer() {
    systemd-run -q --collect --unit="$timer" --on-active="$1" --on-unit-active=15 --timer-property=AccuracySec=1s --property=RuntimeMaxSec="$((2 * timeout + window + 3600))" /bin/sh "$kept/host.sh" timer 2>&1
}

arm() {
    extend
    ! overdue || refuse disk "cannot write the deadline in $kept"
    # systemd-run waits until systemd has started the timer, whose file exists as long as
    # the timer does (--collect). If either is not the case, ask systemd.
    said=$(start_timer "$hold") &&
        [ -f "$ROOT/run/systemd/transient/$timer.timer" ] && return
    [ "$(systemctl show -p ActiveState "$timer.timer" 2>/dev/null)" = ActiveState=active ] ||
        refuse configuration "cannot arm the dead-man switch: no timer, ${said:-systemd-run has created none}"
}

# extend postpones the deadline, while this process works. Without a dead-man switch it is
# the time until which the run counts as in progress.
extend() {
    now_up
    { printf '%s %s\n' "$((up / 100 + hold))" $$ >"$kept/deadline"; } 2>/dev/null
}

# read_deadline FOLDER sets $deadline, in seconds of uptime, empty if it is unknown, and
# $worker, the process that wrote it.
read_deadline() {
    deadline='' worker=''
    { read -r deadline worker <"$1/deadline"; } 2>/dev/null
    case $deadline$worker in *[!0-9]*) deadline='' worker='' ;; esac
    now_up
}

# seconds_left FOLDER sets $left to the seconds until that run counts as lost.
seconds_left() {
    read_deadline "$1"
    left=$deadline
    [ -z "$left" ] || left=$((deadline > up / 100 ? deadline - up / 100 : 0))
}

# overdue reports whether the time to confirm is over. A deadline that can't be read
# counts as passed; it may just be rewritten, so it is read twice.
overdue() {
    read_deadline "$kept"
    [ -n "$deadline" ] || { sleep 0.2 6>&- 7>&-; read_deadline "$kept"; }
    [ -n "$deadline" ] || [ "$deadman" = yes ] || return 1
    [ $((up / 100)) -ge "${deadline:-0}" ]
}

# has_switch reports whether $kept has, or may get, a part of a dead-man switch.
has_switch() { [ "$deadman" = yes ] || [ -f "$kept/host.sh" ]; }

# hold_names sets $drop_in and $lifted: the drop-in of the agent's unit keeps it from
# starting unless the file in /run exists, which a boot removes (21-upgrade.sh).
hold_names() { drop_in=$units/$unit.d/aoifleet-$run.conf lifted=$ROOT/run/aoifleet/hold-$run; }

# unhold removes the hold. At any moment of it the agent can start: systemd still has the
# condition until it has read its files again, and then the file in /run meets it. The guard
# removes a hold that a power failure has left, and is therefore removed later.
unhold() {
    hold_names
    [ -e "$drop_in" ] || [ -e "$lifted" ] || return 0
    if [ -e "$drop_in" ]; then
        mkdir -p -- "${lifted%/*}" && : >"$lifted" && rm -f -- "$drop_in" && sync -- "${drop_in%/*}" || return
    fi
    rmdir -- "${drop_in%/*}" 2>/dev/null
    timeout 60 systemctl daemon-reload >/dev/null 2>&1 6>&- 7>&- && rm -f -- "$lifted"
}

# disarm [FILE ...] removes the files and the dead-man switch of this run. The script that
# the timer runs is last: while anything is left, the next tick retries.
disarm() {
    if ! has_switch; then
        for left in "$@" "$kept/deadline"; do [ ! -e "$left" ] || rm -f -- "$left"; done
        return
    fi
    deadman_names
    unhold 2>/dev/null || return
    rm -f -- "$@" "$units"/*.wants/"${guard##*/}" "$guard" || return
    # A guard that has failed in this boot would stay in systemd's list.
    [ "${now_boot:-$boot}" = "$boot" ] || systemctl reset-failed "${guard##*/}" >/dev/null 2>&1
    systemctl stop "$timer.timer" >/dev/null 2>&1 ||
        case $(systemctl show -p ActiveState "$timer.timer" 2>/dev/null) in
        ActiveState=inactive | ActiveState=failed) ;;
        *) return 1 ;;
        esac
    rm -f -- "$kept/deadline" "$kept/host.sh"
}

# clean_guards removes guards of this unit that have no script, after a power failure that
# has lost the folder of a run, or the removal of its guard.
clean_guards() {
    deadman_names
    for guard in "$units/aoifleet-guard-$name"-*.service; do
        run=${guard#"$units/aoifleet-guard-$name-"}
        run=${run%.service}
        # The name of another unit may have the same beginning.
        ! grep -qxF -e "ConditionPathExists=|$state/pending" -- "$guard" 2>/dev/null || [ -e "$state/backups/$run/host.sh" ] ||
            rm -f -- "$units"/*.wants/"${guard##*/}" "$guard"
    done
    for left in "$units/$unit.d"/aoifleet-*.conf; do
        run=${left##*/aoifleet-} run=${run%.conf}
        [ ! -e "$left" ] || [ -e "$state/backups/$run/host.sh" ] || unhold
    done
    [ ! -d "$units/$unit.d" ] || rmdir -- "$units/$unit.d" 2>/dev/null
}

# clean_interrupted removes what is left of the dead-man switches of runs that have ended:
# a reboot stops a disarm, and the timer that would retry it.
clean_interrupted() { clean_runs "$state"/backups/*/host.sh "$state"/backups/*/deadline; }

# clean_runs FILE ... cleans the runs in whose folders the files are, if they have ended.
clean_runs() {
    for left; do
        kept=${left%/*}
        run=${kept##*/}
        [ ! -f "$left" ] || unfinished || clean_run
    done
    exec 5<&-
}

# clean_run removes the dead-man switch and the staged file of a run that has ended, and
# its folder if there is nothing to restore.
clean_run() {
    # Otherwise a power cut could bring the receipt back, but not the switch.
    sync -- "$state"
    rm -f -- "$state/staged-$run"
    if is_backup && ! has_state rolled-back; then disarm; else remove_run; fi
}

# unattended UNIT RUN [timer|stopped] is called by the timer, the guard, and after the guard.
# A tick before the deadline, or during an undo by another process, does nothing; an undo
# that died is continued. The order of the checks is the order of the renames.
unattended() {
    begin
    exec </dev/null
    reset_values
    unit=$1 run=$2 state=$ROOT/var/lib/aoifleet/$1 kept=$ROOT/var/lib/aoifleet/$1/backups/$2
    [ "${3:-}" != stopped ] || after_guard
    # A rehearsal renames its receipt back once.
    for receipt in pending undoing pending; do
        has_state "$receipt" || continue
        read_values receipt <"$state/$receipt" || exit 1
        read -r now_boot <"$ROOT/proc/sys/kernel/random/boot_id"
        rehearsal_file
        if [ "$now_boot" = "$boot" ]; then
            ! at_boot "${3:-}" || restore_at_boot
            [ "$receipt:$rehearsal" = undoing:no ] || overdue || exit 0
        elif [ "${3:-}" != timer ]; then
            restore_at_boot
        fi # otherwise the guard has failed
        claim || exit 0
        ticking=yes
        # Only the last attempt is kept: there may be one every 15 seconds.
        deadman_names
        command exec >"$undo_log" 2>&1 || :
        set_marks
        undo timeout 'no confirmation in time'
    done
    clean_run
    exit 0
}

# restore_at_boot runs before the agent starts. The receipt stays: recover, or the next
# rotation, watches the agent and ends the transaction. After an upgrade a timer does that,
# because the package is not restored yet; until then the guard stays.
restore_at_boot() {
    claim || exit 1
    { restore && [ -z "$unsynced" ]; } || { say undo_error "$why"; exit 1; }
    [ -z "$package" ] || exit 0
    # Otherwise the next boot would undo the operator's later changes.
    deadman_names
    rm -f -- "$units"/*.wants/"${guard##*/}" "$guard"
    exit 0
}

# after_guard starts a timer if the guard has failed or was killed (systemd.service(5),
# ExecStopPost=), or not restored everything, as after an upgrade. Otherwise the agent would
# keep the new file until the next boot. Without a timer nothing else would end the hold.
after_guard() {
    for receipt in pending undoing; do
        if has_state "$receipt" && read_values receipt <"$state/$receipt" && [ "$rehearsal" = no ] && [ "${SERVICE_RESULT:-success}$package" != success ]; then
            deadman_names
            start_timer 5 || [ -z "$package" ] || lift_hold
        fi
    done
    exit 0
}
