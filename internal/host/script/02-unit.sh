
# --- the unit ---

# unit_state asks systemd once and leaves what it says in variables.
unit_state() {
    now_up
    shown_at=$up
    shown=$(systemctl show -p LoadState,ActiveState,SubState,UnitFileState,InvocationID,NRestarts,MainPID,ExecMainStartTimestampMonotonic,Result,User,Group,WantedBy,StartLimitAction "$unit" 2>/dev/null)
    load='' active='' sub='' id='' restarts=0 failure='' user='' group='' wanted='' started=0 pid=0 limit=''
    IFS=$NL
    for line in $shown; do
        value=${line#*=}
        case $line in
        LoadState=*) load=$value ;;
        ActiveState=*) active=$value ;;
        SubState=*) sub=$value ;;
        InvocationID=*) id=$value ;;
        NRestarts=*) restarts=$value ;;
        ExecMainStartTimestampMonotonic=*) started=$value ;;
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
pid=0 active='' shown_at=0

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
    case $status in
    0) return 0 ;;
    124) why="systemctl restart did not return within ${timeout}s" ;;
    *) why="systemctl restart failed: ${said%%"$NL"*}" ;;
    esac
    return 1
}

port_listens() {
    hex=$(printf '%04X' "$port")
    grep -qsE "^ *[0-9]+: [0-9A-F]+:$hex [0-9A-F]+:[0-9A-F]+ 0A " "$ROOT/proc/net/tcp" "$ROOT/proc/net/tcp6"
}
