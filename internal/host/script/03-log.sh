
# --- the log since the restart ---

# strip_colour also drops NUL bytes, about which bash complains.
strip_colour() { tr -d '\000' | sed "s/$ESC\\[[0-9;]*[a-zA-Z]//g"; }
ESC=$(printf '\033')

# log_mark remembers where the log ends now, and the bytes before.
log_mark() {
    mark_time=$(date -u +%Y-%m-%dT%H:%M:%S.%6N)
    mark_size='' mark_inode='' mark_sum='' mark_head='' log_at='' start_time='' start_late=''
    [ -f "$ROOT$log" ] && stat_log "$ROOT$log" || return 0
    mark_size=$log_size mark_inode=$log_inode
    mark_sum=$(log_sum "$ROOT$log")
    mark_head=$(log_head)
}

stat_log() {
    log_inode=$(stat -L -c '%s %d:%i' -- "$1" 2>/dev/null) || return 1
    log_size=${log_inode%% *} log_inode=${log_inode#* }
}

# log_sum: a checksum of the last 256 bytes of FILE before the mark.
log_sum() {
    from=$((mark_size > 256 ? mark_size - 255 : 1))
    tail -c "+$from" -- "$1" 2>/dev/null | head -c "$((mark_size - from + 1))" | cksum
}

# log_head: a checksum of the first bytes that were there at the mark.
log_head() { head -c "$((mark_size < 200 ? mark_size : 200))" -- "$ROOT$log" 2>/dev/null | cksum; }

# log_begins_in: does FILE hold the mark? An empty log has no bytes to tell it
# by, so there the file has to be the same.
log_begins_in() {
    [ -f "$1" ] && stat_log "$1" || return 1
    [ "$log_size" -ge "$mark_size" ] || return 1
    [ "$mark_size" -gt 0 ] || { [ "$log_inode" = "$mark_inode" ]; return; }
    [ "$(log_sum "$1")" = "$mark_sum" ]
}

# log_where finds the file that holds the mark: the log, or one of its two
# newest uncompressed rotations (logrotate(8): rename, copytruncate, dateext).
log_where() {
    log_newer=''
    [ -n "$mark_size" ] || { log_at=new; return; }
    log_at=$ROOT$log
    ! log_begins_in "$log_at" || return 0
    # shellcheck disable=SC2010 # by time, which a glob can't
    rotations=$(ls -td -- "$ROOT$log"[.-]* 2>/dev/null | grep -Ev '[.](gz|xz|bz2|zst|lz4)$' | head -n 2)
    IFS=$NL
    for log_at in $rotations; do
        unset IFS
        ! log_begins_in "$log_at" || return 0
        log_newer=$log_at
    done
    unset IFS
    log_newer='' log_at=unknown
}

# not_before TIME: lines whose own time is not before it; a line without a time
# goes with the one above it.
not_before() {
    awk -v t="$1" '/^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T/ { on = (substr($0, 1, length(t)) >= t) } on'
}

# stamp N: N hundredths of a second since the epoch, as the log writes times.
stamp() { date -u -d "@${1%??}.${1#"${1%??}"}" +%Y-%m-%dT%H:%M:%S.%2N; }

# since_start notes between which two times the process that runs was started:
# neither clock is read finer than to a hundredth, nor both at once.
since_start() {
    now_up
    start_time=$(($(date +%s%2N) - up + started / 10000))
    began_at=$up
    now_up
    start_late=$(stamp "$((start_time + 2))")
    start_time=$(stamp "$((start_time - 2 - up + began_at))")
}

# own_lines START drops colour codes, and what the process before has written on its way out,
# between the mark and START. Only that span: should a clock jump, a line counts.
own_lines() {
    awk -v from="$mark_time" -v to="$1" '
        BEGIN { on = 1 }
        { gsub(/\033\[[0-9;]*[a-zA-Z]/, "") }
        to != "" && /^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9:.]*Z/ {
            at = substr($0, 1, length(to))
            on = at < substr(from, 1, length(to)) || at >= to
        }
        on'
}

# log_own prints what the process that runs has written for certain; the rest of
# log_since may be its predecessor's, and proves nothing.
log_own() { log_since | own_lines "$start_late"; }

# log_since prints the log since the mark.
log_since() {
    case $log_at in
    new) [ ! -f "$ROOT$log" ] || cat -- "$ROOT$log" 2>/dev/null ;;
    unknown) tail -c 67108864 -- "$ROOT$log" 2>/dev/null | strip_colour | not_before "$mark_time" ;;
    "$ROOT$log")
        tail -c "+$((mark_size + 1))" -- "$log_at"
        # systemd 239's StandardOutput=file: writes over the log from byte 0.
        [ "$(log_head)" = "$mark_head" ] || head -c "$mark_size" -- "$log_at" | strip_colour | not_before "$mark_time"
        ;;
    *)
        tail -c "+$((mark_size + 1))" -- "$log_at"
        cat -- ${log_newer:+"$log_newer"} "$ROOT$log" 2>/dev/null
        ;;
    esac | tr -d '\000' | own_lines "$start_time"
}

# log_before keeps the last denied lines of the log as it is now: what was there
# already.
log_before() {
    before='' mark_time=$(date -u +%Y-%m-%dT%H:%M:%S.%6N)
    [ ! -f "$ROOT$log" ] || before=$(tail -c 65536 -- "$ROOT$log" | strip_colour | matches "$deny" | tail -n 20 | cut -c 1-500)
}

# since N: those of the lines kept by log_before that are at most N hundredths of
# a second older than the mark.
since() {
    printf '%s\n' "$before" | not_before "$(stamp "$(($(date -d "${mark_time}Z" +%s%2N) - $1))")"
}

# denied_lately: those of the lines kept by log_before that the process that
# runs has written for certain, at most five minutes old.
denied_lately() {
    [ -n "$before" ] || return 0
    since_start
    since 30000 | not_before "$start_late"
}

# matches PATTERNS: the lines of stdin that match any of them (POSIX ERE, one
# a line).
matches() {
    set -f
    IFS=$NL
    # shellcheck disable=SC2086 # one pattern a line
    set -- $1
    unset IFS
    set +f
    [ $# -gt 0 ] || return 1
    for pattern in "$@"; do
        set -- "$@" -e "$pattern"
        shift
    done
    grep -aE "$@"
}

# patterns_work: one that grep refuses would switch off all others.
patterns_work() {
    matches "$deny$expect" </dev/null >/dev/null 2>&1
    [ $? -le 1 ] || refuse configuration 'grep on the host does not understand a pattern of health.deny or health.expect'
}

# log_denied leaves in $denied the line that fails the host. A pattern that
# matched as long before the restart as has passed since is reported and does
# not fail it, unless the line names the new certificate.
log_denied() {
    denied=''
    hits=$(log_since | matches "$deny" | head -c 65536)
    [ -n "$hits" ] || return 1
    IFS=$NL
    set -f
    for pattern in $deny; do
        hit=$(printf '%s\n' "$hits" | grep -aE -e "$pattern") || continue
        named=''
        [ -z "$thumbprint" ] || named=$(printf '%s\n' "$hit" | grep -aiF -e "$thumbprint")
        if [ -z "$named" ] && since "$((up - began + 100))" | grep -aqE -e "$pattern"; then
            known=$(clip "$hit")
            continue
        fi
        denied=$(clip "${named:-$hit}")
        break
    done
    set +f
    unset IFS
    [ -n "$denied" ]
}

# clip: the first line of TEXT, short enough for a line of our own.
clip() { printf '%s\n' "$1" | cut -c 1-500 | head -n 1; }

log_expected() {
    missing=''
    IFS=$NL
    set -f
    for pattern in $expect; do
        log_own | grep -aqE -e "$pattern" || missing=$pattern
    done
    set +f
    unset IFS
    [ -z "$missing" ]
}
