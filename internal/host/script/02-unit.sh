
# --- the unit ---

# unit_state [OTHER ...] asks systemd once and leaves what it says in variables. Of
# other units it tells only how they are called, in $named.
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

# What observe saw is remembered for the verbs that follow it in the same shell.
pid=0 active='' shown_at=0 shown_of=''

is_unit() { case $1 in '' | [.-]* | *[!A-Za-z0-9:_.@\\-]*) return 1 ;; esac; }

# own_name: whatever the unit was called, its folder, timer and guard have its own name
# (Id). Earlier versions went by the name that they were told: $aliases are those of
# the unit's other names that have a folder.
own_name() {
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

# own_folder: systemd is asked only where there is a folder of another name.
own_folder() {
    for left in "$ROOT"/var/lib/aoifleet/*.service; do
        [ "$left" = "$state" ] || [ ! -d "$left" ] || { own_name; return; }
    done
}

# in_each COMMAND ...: under each name of the unit that has a folder, its own last.
in_each() {
    own=$unit
    for unit in $aliases "$own"; do
        state=$ROOT/var/lib/aoifleet/$unit
        "$@"
    done
}

# same_process: does the main process that unit_state saw a moment ago still run?
# Then the unit is in the state that it was in, and systemd need not be asked
# again. (Later it may have another definition: masked, wanted by other targets.) A
# number can come again, its start can't: field 22 of proc_pid_stat(5), in
# hundredths of a second since boot; systemd takes the time a little later.
same_process() {
    now_up
    [ "$((up - shown_at))" -le 6000 ] || return
    [ "$active:$sub:$restarts" = active:running:0 ] && { read -r line <"$ROOT/proc/$pid/stat"; } 2>/dev/null || return
    set -f
    # shellcheck disable=SC2086 # fields; the name before them may hold anything
    set -- ${line##*) }
    set +f
    [ "$((started / 10000 - ${20:-0}))" -ge 0 ] && [ "$((started / 10000 - ${20:-0}))" -le 50 ]
}

# undo_time (limits.go has the same) is how long an undo waits for a restart, in $patient: as long as systemd
# does, for at most ten minutes, and no shorter than the time-out.
undo_time() {
    patient=10
    for value in $stops $starts; do
        case $value in
        *[0-9]ms | *[0-9]us) continue ;;
        *[0-9]min) value=${value%min} count=60 ;;
        *[0-9]s) value=${value%s} value=${value%%.*} count=1 ;;
        *) value=600 count=1 ;; # infinity, or hours
        esac
        case $value in *[!0-9]* | ????*) value=600 count=1 ;; esac
        patient=$((patient + value * count))
    done
    [ "$patient" -lt 600 ] || patient=600
    [ "$patient" -gt "$timeout" ] || patient=$timeout
}

# was_stopped: was the agent that was started last stopped by an operator, or
# together with another unit? A stop that is asked for ends the active state before the
# main process; a process that ends by itself is noticed first. Not so of a unit that
# may announce its own end (sd_notify(3), STOPPING=1), and of one without a main
# process nothing is known: then $unsure is set.
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

# come_to_rest waits for the end of a stop that is not ours.
come_to_rest() {
    now_up
    patience=$((up + patient * 100))
    while [ "$active" = deactivating ] && { [ -n "$halted" ] || [ "$id" != "$invocation" ]; } && [ "$up" -lt "$patience" ]; do
        sleep 0.25 6>&- 7>&-
        unit_state
        now_up
    done
}

# restart_unit: a unit that has used up its start limit is refused
# (systemd.unit(5), StartLimitBurst), so reset-failed goes first where that is
# likely or would do harm, and afterwards where it was so.
# A unit that systemd starts again by itself is stopped first: its restart would
# merge with ours, and NRestarts tell of one more than there was.
restart_unit() {
    case $restarts:$sub in
    0:auto-restart* | [!0]*) timeout "$timeout" systemctl stop "$unit" >/dev/null 2>&1 6>&- 7>&- ;;
    esac
    reset=no
    [ "$active:$restarts:$limit" = active:0:none ] || { systemctl reset-failed "$unit" >/dev/null 2>&1; reset=yes; }
    start_anew && return
    [ $reset = no ] || return 1
    case $(systemctl show -p Result "$unit" 2>/dev/null) in *start-limit-hit) ;; *) return 1 ;; esac
    systemctl reset-failed "$unit" >/dev/null 2>&1
    start_anew
}

# start_anew: `timeout` because a start job can hang; it runs in a process group
# of its own and may outlive a script that was killed, so it does not get the lock.
start_anew() {
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
