
# --- the unit ---

# unit_state [OTHER ...] asks systemd once and sets variables from its answer. It sets
# $named to the names of the other units.
unit_state() {
    now_up
    shown_at=$up shown_of=$unit
    shown=$(systemctl show -p Id,Type,LoadState,ActiveState,SubState,UnitFileState,InvocationID,NRestarts,MainPID,NotifyAccess,InactiveExitTimestampMonotonic,ActiveExitTimestampMonotonic,ExecMainStartTimestampMonotonic,ExecMainExitTimestampMonotonic,TimeoutStartUSec,TimeoutStopUSec,Job,Result,User,Group,WantedBy,StartLimitAction "$unit" "$@" 2>/dev/null)
    named=${shown#*"$NL$NL"} shown=${shown%%"$NL$NL"*}
    [ $# -gt 0 ] || named=''
    unit_name='' type='' load='' active='' sub='' id='' restarts=0 failure='' user='' group='' wanted='' started=0 pid=0 limit=''
    notifies='' begun=0 left_active=0 exited=0 job='' starts='' stops=''
    IFS=$NL
    for line in $shown; do
        value=${line#*=}
        case $line in
        Id=*) unit_name=$value ;;
        Type=*) type=$value ;;
        LoadState=*) load=$value ;;
        ActiveState=*) active=$value ;;
        SubState=*) sub=$value ;;
        InvocationID=*) id=$value ;;
        NRestarts=*) restarts=$value ;;
        NotifyAccess=*) notifies=$value ;;
        InactiveExitTimestampMonotonic=*) begun=$value ;;
        ActiveExitTimestampMonotonic=*) left_active=$value ;;
        ExecMainStartTimestampMonotonic=*) started=$value ;;
        ExecMainExitTimestampMonotonic=*) exited=$value ;;
        TimeoutStartUSec=*) starts=$value ;;
        TimeoutStopUSec=*) stops=$value ;;
        Job=*) job=$value ;;
        Result=*) failure=$value ;;
        MainPID=*) pid=$value ;;
        StartLimitAction=*) limit=$value ;;
        User=*) user=$value ;;
        Group=*) group=$value ;;
        WantedBy=*) wanted=$value ;;
        esac
    done
    unset IFS
}

# The verbs that follow observe in the same shell use its results.
pid=0 active='' shown_at=0 shown_of=''

is_unit() { case $1 in '' | [.-]* | *[!A-Za-z0-9:_.@\\-]*) return 1 ;; esac; }

# use_own_name sets $unit to the unit's own name (Id), also if the inventory names an
# alias: folder, timer and guard have that name. Earlier versions used the name in the
# inventory: it sets $aliases to the other names of the unit that have a folder.
use_own_name() {
    set --
    for left in "$ROOT"/var/lib/aoifleet/*.service; do
        if [ "$left" != "$state" ] && [ -d "$left" ] && [ ! -L "$left" ] && [ -O "$left" ] && is_unit "${left##*/}"; then set -- "$@" "${left##*/}"; fi
    done
    if [ "$shown_of:$folders_then" != "$unit:$*" ] || ! same_process; then
        unit_state "$@"
        find_aliases "$@"
    fi
    ! is_unit "$unit_name" || unit=$unit_name
    shown_of=$unit folders_then=$*
    state=$ROOT/var/lib/aoifleet/$unit
}

find_aliases() {
    aliases=''
    [ "$unit_name" = "$unit" ] || [ ! -d "$state" ] || [ -L "$state" ] || aliases=$unit
    IFS=$NL
    for line in $named; do
        case $line in
        Id=*)
            [ "$1" = "$unit_name" ] || [ "${line#*=}" != "$unit_name" ] || aliases="$aliases $1"
            shift
            ;;
        esac
    done
    unset IFS
}
aliases='' folders_then=''

# use_own_folder asks systemd for the own name only if another unit has a folder.
use_own_folder() {
    for left in "$ROOT"/var/lib/aoifleet/*.service; do
        [ "$left" = "$state" ] || [ ! -d "$left" ] || { use_own_name; return; }
    done
}

# in_each COMMAND ... runs it for each name of the unit that has a folder; the own name
# is the last.
in_each() {
    own=$unit
    for unit in $aliases "$own"; do
        state=$ROOT/var/lib/aoifleet/$unit
        "$@"
    done
}

# same_process reports whether the main process that unit_state saw within the last
# minute still runs. Then the unit's state is unchanged, and systemd need not be asked
# again. (Later the unit may have another definition: masked, wanted by other targets.)
# The kernel reuses process ids, so the start time is compared too: field 22 of
# proc_pid_stat(5), in hundredths of a second since boot; systemd records it a little
# later.
same_process() {
    now_up
    [ "$((up - shown_at))" -le 6000 ] || return
    [ "$active:$sub:$restarts" = active:running:0 ] && { read -r line <"$ROOT/proc/$pid/stat"; } 2>/dev/null || return
    set -f
    # shellcheck disable=SC2086 # fields; the name before them may contain anything
    set -- ${line##*) }
    set +f
    [ "$((started / 10000 - ${20:-0}))" -ge 0 ] && [ "$((started / 10000 - ${20:-0}))" -le 50 ]
}

# undo_time sets $undo_wait to the seconds that an undo waits for a restart: as long as
# systemd does, at most ten minutes, at least the time-out. limits.go has the same rule.
undo_time() {
    undo_wait=10
    for value in $stops $starts; do
        case $value in
        *[0-9]ms | *[0-9]us) continue ;;
        *[0-9]min) value=${value%min} count=60 ;;
        *[0-9]s) value=${value%s} value=${value%%.*} count=1 ;;
        *) value=600 count=1 ;; # infinity, or hours
        esac
        case $value in *[!0-9]* | ????*) value=600 count=1 ;; esac
        undo_wait=$((undo_wait + value * count))
    done
    [ "$undo_wait" -lt 600 ] || undo_wait=600
    [ "$undo_wait" -gt "$timeout" ] || undo_wait=$timeout
}

# was_stopped reports whether an operator, or the stop of another unit, stopped the
# agent that was started last. For a requested stop systemd ends the active state before
# the main process; for an exit the main process ends first. This does not hold for a
# unit that may announce its own end (sd_notify(3), STOPPING=1), and a unit without a
# main process is unknown: then it sets $unsure.
was_stopped() {
    unsure=''
    case $active:${job:-0} in inactive:0 | failed:0) ;; *) return 1 ;; esac
    [ -z "$halted" ] || return 0
    case $failure in success | exit-code | signal | timeout) ;; *) return 1 ;; esac
    [ "$id" != "$invocation" ] && [ "$begun" -le "$left_active" ] || return 1
    [ "$exited" = 0 ] || [ "$left_active" -lt "$exited" ] || return 1
    case $exited:$notifies in 0:*) ;; *:none) halted=yes; return 0 ;; esac
    unsure=yes
    return 1
}

# wait_for_stop waits for the end of a stop that this script did not request.
wait_for_stop() {
    now_up
    wait_until=$((up + undo_wait * 100))
    while [ "$active" = deactivating ] && { [ -n "$halted" ] || [ "$id" != "$invocation" ]; } && [ "$up" -lt "$wait_until" ]; do
        sleep 0.25 6>&- 7>&-
        unit_state
        now_up
    done
}

# restart_unit restarts the unit; if it fails, $why has the reason. systemd refuses a
# unit that has reached its start limit (systemd.unit(5), StartLimitBurst), so
# reset-failed runs first if that is likely or would do harm, and otherwise after such a
# refusal. A unit that systemd is about to restart is stopped first: the two restarts
# would merge, and NRestarts would count one too many.
restart_unit() {
    end_loop
    reset=no
    [ "$active:$restarts:$limit" = active:0:none ] || { systemctl reset-failed "$unit" >/dev/null 2>&1; reset=yes; }
    try_restart && return
    [ $reset = no ] || return 1
    case $(systemctl show -p Result "$unit" 2>/dev/null) in *start-limit-hit) ;; *) return 1 ;; esac
    systemctl reset-failed "$unit" >/dev/null 2>&1
    try_restart
}

# end_loop stops a unit that systemd is about to start again.
end_loop() {
    case $restarts:$sub in
    0:auto-restart* | [!0]*) timeout "$timeout" systemctl stop "$unit" >/dev/null 2>&1 6>&- 7>&- ;;
    esac
}

# try_restart restarts the unit once. A start job can hang, hence `timeout`; it runs in a
# process group of its own and may outlive a killed script, so it does not inherit the
# locks.
try_restart() {
    said=$(timeout "$timeout" systemctl restart "$unit" 2>&1 6>&- 7>&-)
    status=$?
    case $status:$said in
    0:*) return 0 ;;
    *' canceled.'*) halted=yes why="an operator stopped $unit during the restart" ;;
    124:*) why="systemctl restart did not return within ${timeout}s" ;;
    *) why="systemctl restart failed: ${said%%"$NL"*}" ;;
    esac
    return 1
}
