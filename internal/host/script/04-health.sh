
# --- health: the verdict on the agent ---
#
# internal/host/health.go applies the same rules, in the same order, to the results of
# observe; a test runs the same cases through both. To add a probe, add it to both.

# judge checks the agent once, for the watch: 0 healthy, 1 unhealthy, 2 not yet healthy,
# with the reason in $why. Only a watch can check that another process runs than before,
# that the files are this run's, and that the log has the expected lines. It asks systemd
# at the first look, and whenever the main process is not the one of the last look; $unit_asked
# is "before" if it has not asked. An operator's or systemd's restart ends that process.
judge() {
    # An agent that has exited has written its last words since: then send_evidence reads them.
    log_is=''
    if [ -z "$unit_asked" ] || ! same_process; then unit_state && unit_asked=yes; else shown_at=$up unit_asked=before; fi
    unit_runs
    case $? in
    1) ! was_stopped || why="an operator stopped $unit during the watch"; return 1 ;;
    2) return 2 ;;
    esac
    [ "$id" != "$replaced" ] || { why='the agent was not restarted'; return 1; }
    # A start by an operator sets NRestarts to 0 and makes one InvocationID (systemd.exec(5)).
    : "${seen:=$id} ${base:=$restarts}"
    [ "$id:$restarts" = "$seen:$base" ] || { why="the agent exits and is started again"; return 1; }
    read_log
    if [ -n "$mark_size" ] && { [ "$log_kind" = other ] || [ -n "$log_unsafe" ]; }; then why="$log is no longer a regular file"; return 1; fi
    same_files || return 1
    if [ "$log_is" = odd ] && log_denied; then why="the log says: $denied"; return 1; fi
    if ! log_expected; then why="the log does not say: $missing"; return 2; fi
    wanted_port=${new_port:-$port}
    if [ "${wanted_port:-0}" != 0 ] && ! port_listens; then why="nothing listens on port $wanted_port"; return 2; fi
}

# unit_runs judges the state from unit_state: 0 the unit runs, 1 it does not, 2 not yet.
unit_runs() {
    case $active:$sub in
    *:auto-restart) why="the agent exits and is started again ($failure)"; return 1 ;;
    active:exited) why='the main process has exited'; return 1 ;; # RemainAfterExit=yes
    active:*) ;;
    activating:* | reloading:* | deactivating:*) why="the unit is still $active"; return 2 ;;
    *) why="the unit is $active ($failure)"; return 1 ;;
    esac
}

# was_unhealthy reports whether the agent was unhealthy before any change. Recent denied
# lines count, and so does a unit that is stopping.
was_unhealthy() {
    unit_runs
    case $?:$active in
    1:* | *:deactivating) return 0 ;;
    esac
    [ -n "$before" ] && [ -n "$(denied_lately)" ]
}

port_listens() { [ -n "$(sockets_on "$(printf '%04X' "$wanted_port")")" ]; }

# observe_health prints what health.go needs in addition to the unit and the log: if the
# configuration has a listener, the ports on which something listens, in hexadecimal
# digits, each once.
observe_health() {
    [ -n "$has_listener" ] || return 0
    sockets_on '[0-9A-F]{4}' | awk '
        { port = substr($2, length($2) - 3) }
        !known[port]++ { all = all port " " }
        END { if (length(all) <= 40000) print "listening=" all }'
}

# sockets_on PORT prints a line for each TCP socket that listens on PORT (four
# hexadecimal digits, or a pattern; proc_pid_net(5); 0A is LISTEN).
sockets_on() { grep -hsE "^ *[0-9]+: [0-9A-F]+:$1 [0-9A-F]+:[0-9A-F]+ 0A " "$ROOT/proc/net/tcp" "$ROOT/proc/net/tcp6"; }
