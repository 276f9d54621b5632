
# --- the unit ---

# unit_state asks systemd once and leaves what it says in variables.
unit_state() {
    shown=$(systemctl show -p LoadState,ActiveState,SubState,UnitFileState,InvocationID,NRestarts,MainPID,ExecMainStartTimestampMonotonic,Result,User,Group,WantedBy "$unit" 2>/dev/null)
    load='' active='' sub='' id='' restarts=0 failure='' user='' group='' wanted='' started=0
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
        User=*) user=$value ;;
        Group=*) group=$value ;;
        WantedBy=*) wanted=$value ;;
        esac
    done
    unset IFS
}

# restart_unit: reset-failed first, or a unit that has used up its start limit
# is refused (systemd.unit(5), StartLimitBurst). `timeout` because a start job
# can hang; it runs in a process group of its own and may outlive a script that
# was killed, so it does not get the lock.
# A unit that systemd starts again by itself is stopped first: its restart would
# merge with ours, and NRestarts tell of one more than there was.
restart_unit() {
    case $restarts:$sub in
    0:auto-restart* | [!0]*) timeout "$timeout" systemctl stop "$unit" >/dev/null 2>&1 6>&- 7>&- ;;
    esac
    systemctl reset-failed "$unit" >/dev/null 2>&1
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
