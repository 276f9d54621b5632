
# --- the dead-man switch ---
#
# If nobody confirms in time, a transient timer undoes. After a reboot the
# timer is gone: then a guard unit, which only the next boot reads, puts the old
# file back before the agent starts. Both run the copy of this script that lies
# beside the backup.

deadman_names() {
    name=${unit%.service}
    case $name in *@*) name=${name%%@*}-${name#*@} ;; esac
    timer=aoifleet-undo-$name-$run
    units=$ROOT/etc/systemd/system
    guard=$units/aoifleet-guard-$name-$run.service
}

# prepare_deadman writes the copy of this script ($self is its text, which came
# with it) and the guard.
# shellcheck disable=SC2154
prepare_deadman() {
    deadman_names
    # systemd takes some of them for the end of a line.
    case ${real%/*} in *[[:cntrl:]]*) refuse configuration "the folder of the certificate has a control character in its path" ;; esac
    command -v systemd-run >/dev/null || refuse configuration 'the dead-man switch can not be armed: no timer, systemd-run is not there'
    [ -n "$wanted" ] || [ "$start" = no ] || refuse configuration "the dead-man switch can not be armed: no boot guard, no target wants $unit"
    {
        printf '%s\n' "$self" "unattended '$unit' '$run' >>'$state/undo.log' 2>&1" >"$kept/host.sh" &&
            guard_unit >"$guard" && guard_links
    } 2>/dev/null || refuse configuration "the dead-man switch can not be armed: no boot guard, $units can not be written"
}

# guard_unit: a oneshot before the agent, which never restarts it (that would
# wait for itself). daemon-reload is not needed: only the next boot reads it.
guard_unit() {
    escaped "$kept"
    home=$text
    escaped "$ROOT${real%/*}"
    printf '%s\n' "[Unit]
Description=Puts the old certificate of $unit back after an interrupted rotation
Before=$unit
RequiresMountsFor=\"$home\" \"$text\"
ConditionPathExists=|$state/pending
ConditionPathExists=|$state/undoing

[Service]
Type=oneshot
TimeoutStartSec=120
ExecStart=/bin/sh \"$home/host.sh\""
}

# escaped leaves in $text a path inside double quotes in a unit file (systemd.syntax(7)).
escaped() {
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

# arm: systemd.timer(5) fires up to a minute late without AccuracySec. A tick that
# does not come to its end (RuntimeMaxSec) is followed by another.
arm() {
    extend
    ! overdue || refuse disk "the deadline can not be written in $kept"
    # It waits until systemd has started the timer, whose file is there as long
    # as the timer is (--collect). If either is not so, systemd is asked.
    said=$(systemd-run -q --collect --unit="$timer" --on-active="$hold" --on-unit-active=15 --timer-property=AccuracySec=1s --property=RuntimeMaxSec="$((2 * timeout + window + 3600))" /bin/sh "$kept/host.sh" 2>&1) &&
        [ -f "$ROOT/run/systemd/transient/$timer.timer" ] && return
    [ "$(systemctl show -p ActiveState "$timer.timer" 2>/dev/null)" = ActiveState=active ] ||
        refuse configuration "the dead-man switch can not be armed: no timer, ${said:-systemd-run has made none}"
}

# extend puts the deadline off, while this process works. Without a switch it tells
# until when the run counts as one that is at work.
extend() {
    now_up
    { printf '%s %s\n' "$((up / 100 + hold))" $$ >"$kept/deadline"; } 2>/dev/null
}

# read_deadline FOLDER: in seconds of uptime, empty where it is unknown; and $worker,
# the process that wrote it.
read_deadline() {
    deadline='' worker=''
    { read -r deadline worker <"$1/deadline"; } 2>/dev/null
    case $deadline$worker in *[!0-9]*) deadline='' worker='' ;; esac
    now_up
}

# seconds_left FOLDER: until that run counts as lost, in $left.
seconds_left() {
    read_deadline "$1"
    left=$deadline
    [ -z "$left" ] || left=$((deadline > up / 100 ? deadline - up / 100 : 0))
}

# overdue: the time to confirm is up. A deadline that can't be read counts as
# one that has passed; it is written anew now and then, so it is read twice.
overdue() {
    read_deadline "$kept"
    [ -n "$deadline" ] || { sleep 0.2 6>&- 7>&-; read_deadline "$kept"; }
    [ -n "$deadline" ] || [ "$deadman" = yes ] || return 1
    [ $((up / 100)) -ge "${deadline:-0}" ]
}

# armed_once: is anything of a switch in $kept, or on its way there?
armed_once() { [ "$deadman" = yes ] || [ -f "$kept/host.sh" ]; }

# disarm [FILE ...] takes the files and the switch of this run away. What the
# timer runs goes last: as long as anything is left, the next tick tries again.
disarm() {
    if ! armed_once; then
        for left in "$@" "$kept/deadline"; do [ ! -e "$left" ] || rm -f -- "$left"; done
        return
    fi
    deadman_names
    rm -f -- "$@" "$units"/*.wants/"${guard##*/}" "$guard" || return
    systemctl stop "$timer.timer" >/dev/null 2>&1 ||
        case $(systemctl show -p ActiveState "$timer.timer" 2>/dev/null) in
        ActiveState=inactive | ActiveState=failed) ;;
        *) return 1 ;;
        esac
    rm -f -- "$kept/deadline" "$kept/host.sh"
}

# no_switch: a run that has ended needs none, nor what was staged for it, and
# without anything to go back to no folder either.
no_switch() {
    rm -f -- "$state/staged-$run"
    if is_backup && ! ended rolled-back; then disarm; else forget; fi
}

# unattended UNIT RUN is what timer and guard run. A tick before the deadline
# does nothing, nor one that finds another process at it; an undo that died is
# taken up again. In the order in which the names change.
unattended() {
    begin
    exec </dev/null
    no_values
    unit=$1 run=$2 state=$ROOT/var/lib/aoifleet/$1 kept=$ROOT/var/lib/aoifleet/$1/backups/$2
    for receipt in pending undoing; do
        ended "$receipt" || continue
        read_values receipt <"$state/$receipt" || exit 1
        read -r now_boot <"$ROOT/proc/sys/kernel/random/boot_id"
        [ "$now_boot" = "$boot" ] || before_the_agent
        [ "$receipt" = undoing ] || overdue || exit 0
        claim || exit 0
        ticking=yes
        # One attempt's words: there may be one every 15 seconds.
        exec >"$state/undo.log" 2>&1
        look_before
        undo timeout 'nobody confirmed in time'
    done
    no_switch
    exit 0
}

# before_the_agent runs at boot. The receipt stays: the agent has yet to start,
# and whoever comes next (recover) watches it and ends the transaction.
before_the_agent() {
    if claim && restore; then
        # Or what a person does until then would be undone at the next boot.
        deadman_names
        rm -f -- "$units"/*.wants/"${guard##*/}" "$guard"
    fi
    exit 0
}
