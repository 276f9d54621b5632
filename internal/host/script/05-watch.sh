
# --- the watch ---

# now_up sets $up to the hundredths of a second since boot. Unlike the time of day it
# never jumps.
now_up() {
    read -r up _ <"$ROOT/proc/uptime"
    up=$((${up%.*} * 100 + 1${up#*.} - 100))
}

# both_clocks sets $now to the time of day, read after $earlier and before $up. If the
# machine stalls in between, a process would seem younger or older than it is: then it
# reads them again, at most five times.
both_clocks() {
    for _ in 1 2 3 4 5; do
        now_up
        earlier=$up
        now=$(date +%s%2N)
        now_up
        [ "$((up - earlier))" -gt 4 ] || return 0
    done
}

# read_log finds what is new in the log. Its stat(1) covers the certificate and the
# configuration too.
read_log() {
    find_log
    stat_all
    log_change
    [ "$log_is" != odd ] || log_where
    [ "$log_is" = quiet ] || [ -n "$start_time" ] || since_start
}

# watch REPLACED BASE judges the agent until the window has passed: REPLACED is the
# invocation that must be gone, BASE the number of restarts by systemd so far. The end
# of a start, the expected lines and the port may take until the time-out; the window
# starts when they have appeared. With a window of 0 the first healthy verdict is enough.
# After the window it may wait for a proof, and judges the agent meanwhile.
# A line every five seconds keeps sshd from closing an idle session (sshd_config(5),
# ChannelTimeout; keepalives of the connection don't count there).
# The start of each check counts: a machine that stalls through the window was not
# watched that long, so one more check follows.
watch() {
    replaced=$1 base=$2 seen='' known='' ready='' seen_expect='' unit_asked=''
    now_up
    began=$up reported=$up
    while :; do
        judge
        judged=$?
        [ $judged -ne 1 ] || return 1
        if [ $judged -eq 0 ]; then : "${ready:=$shown_at}"; else ready=''; fi
        if [ $judged -eq 0 ] && [ $((shown_at - ready)) -ge $((window * 100)) ] && ! waits_for_proof; then
            [ "$unit_asked" = before ] || { has_required_proof; return; }
            unit_asked='' # the last look asks systemd
            continue
        fi
        now_up
        if [ $judged -eq 2 ] && [ $((up - began)) -ge $((timeout * 100)) ]; then return 1; fi
        extend
        if [ -z "$ticking" ] && [ $((up - reported)) -ge 500 ]; then say watching yes; reported=$up; fi
        # sleep must not inherit the locks: they must not outlive this script.
        if [ $((window + proof_timeout)) -gt 5 ]; then sleep 1; else sleep 0.25; fi 6>&- 7>&-
    done
}

# waits_for_proof reports whether the watch goes on after the window, because the log does
# not yet have the proof that is required, or else an upload, where one can be seen.
waits_for_proof() {
    if [ "$proof_timeout" = 0 ] || [ "$require$pipelines" = '"' ]; then return 1; fi
    weigh
    ! is_proven && [ $((shown_at - ready)) -lt $(((window + proof_timeout) * 100)) ]
}

# has_required_proof reports whether the log has the proof that is required; if not, $why has
# the reason.
has_required_proof() {
    [ -n "$require" ] || return 0
    weigh
    ! is_proven || return 0
    why='no proof: the log has no line of the new process, or has denied lines as before'
    [ "$require" != uploaded ] || why='no proof of an upload: the new process has not logged successful_uploads above 0'
    [ "$proof_timeout" = 0 ] || why="$why, ${proof_timeout}s after the window"
    return 1
}

# is_proven reports whether $proof is the required one, or a stronger one.
is_proven() { case $require:$proof in *:uploaded | log_clean:expected_line | log_clean:log_clean) ;; *) return 1 ;; esac; }

# weigh sets $since to the last lines since the restart, and $proof to what they prove. A log
# without a line of the running process proves nothing.
weigh() {
    since='' proof=process_only
    [ "$log_is" = quiet ] || since=$(log_raw | own_lines "$start_time" 40)
    tally=${since%%"$NL"*} since=${since#"${since%%"$NL"*}"}
    author=${tally%% *} tally=${tally#* }
    uploads=${tally%% *} tally=${tally#* }
    retryable=${tally% *} lasting=${tally#* }
    if [ "$author" = own ] && [ "$log_at" != /unknown ] && [ -z "$known" ]; then proof=log_clean; fi
    [ -z "$expect" ] || proof=expected_line
    case $log_at:$uploads in /unknown:* | *:0 | *:) ;; *) proof=uploaded ;; esac
}

# send_evidence prints what the verdict is based on, and sets $proof. Failed uploads are a
# fact: a storage account that is busy, or a wrong container, is no bad certificate.
send_evidence() {
    say evidence "$unit: $load $active/$sub result=$failure restarts=$restarts invocation=$id"
    [ -n "$log_is" ] || read_log
    weigh
    [ "$log_at" != /unknown ] || say note 'the start of the log since the restart could not be found'
    [ "$log_is" != odd ] || [ "$((${log_size:-0} - ${mark_size:-0}))" -le "$((2 * log_most))" ] || say note "the log has grown by more than $((2 * log_most)) bytes: only its first and its last part were read"
    [ -z "$known" ] || { say known yes; say note "ignored, because the log had it before: $known"; }
    case ${retryable:-0}:${lasting:-0} in 0:0) ;; *) say note "uploads failed after the restart, as the agent reports: retryable_errors $retryable, non_retryable_errors $lasting" ;; esac
    set -f
    IFS=$NL
    for line in $since; do say evidence "$line"; done
    unset IFS
    set +f
}
