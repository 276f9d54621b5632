
# --- the watch ---

# now_up: hundredths of a second since boot; no clock can jump here.
now_up() {
    read -r up _ <"$ROOT/proc/uptime"
    up=$((${up%.*} * 100 + 1${up#*.} - 100))
}

# both_clocks reads the time of day, in $now, after $earlier and before $up. A
# machine that stalls in between would make a process look younger or older by so
# much: then they are read again, though not for ever on one that is always slow.
both_clocks() {
    for _ in 1 2 3 4 5; do
        now_up
        earlier=$up
        now=$(date +%s%2N)
        now_up
        [ "$((up - earlier))" -gt 4 ] || return 0
    done
}

# look_at_log: what is new in it, and what is the running process's own. One stat(1)
# answers for the certificate and the configuration, too.
look_at_log() {
    find_log
    look_at_files
    log_news
    [ "$log_is" != odd ] || log_where
    [ "$log_is" = quiet ] || [ -n "$start_time" ] || since_start
}

# watch REPLACED BASE follows the agent for the whole window: REPLACED is the
# invocation that must be gone, BASE how often systemd may have restarted it.
# What has yet to come (the end of a start, expected lines, the port) has until
# the time-out, and the window begins when it is there. A window of 0 looks once and waits for nothing else.
# A word now and then keeps a server from closing a session in which nothing is said
# (sshd_config(5), ChannelTimeout); keepalives of the connection do not count there.
# What counts is when a look began: a machine that stalls through the window has
# not been watched for as long, so that a last look is due.
watch() {
    replaced=$1 base=$2 seen='' known='' ready='' said_so=''
    now_up
    began=$up told=$up
    while :; do
        look
        judged=$?
        [ $judged -ne 1 ] || return 1
        if [ $judged -eq 0 ]; then : "${ready:=$shown_at}"; else ready=''; fi
        if [ $judged -eq 0 ] && [ $((shown_at - ready)) -ge $((window * 100)) ]; then return 0; fi
        now_up
        if [ $judged -eq 2 ] && [ $((up - began)) -ge $((timeout * 100)) ]; then return 1; fi
        extend
        if [ -z "$ticking" ] && [ $((up - told)) -ge 500 ]; then say watching yes; told=$up; fi
        # Not with the locks open: they must not outlive this script.
        if [ "$window" -gt 5 ]; then sleep 1; else sleep 0.25; fi 6>&- 7>&-
    done
}

# evidence sends home what the watch went by. A log that says nothing proves
# nothing.
evidence() {
    say evidence "$unit: $load $active/$sub result=$failure restarts=$restarts invocation=$id"
    [ -n "$log_is" ] || look_at_log
    since=''
    [ "$log_is" = quiet ] || since=$(log_raw | own_lines "$start_time" 40)
    [ "$log_at" != /unknown ] || say note 'the start of the log since the restart could not be found'
    [ "$log_is" != odd ] || [ "$((${log_size:-0} - ${mark_size:-0}))" -le "$((2 * log_most))" ] || say note "the log has grown by more than $((2 * log_most)) bytes: only its first and its last part were looked at"
    [ -z "$known" ] || { say known yes; say note "not counted, the log said it before: $known"; }
    proof=process_only
    case $since in
    own*) [ "$log_at" = /unknown ] || [ -n "$known" ] || proof=log_clean ;;
    esac
    [ -z "$expect" ] || proof=expected_line
    set -f
    IFS=$NL
    for line in ${since#*own}; do say evidence "$line"; done
    unset IFS
    set +f
}
