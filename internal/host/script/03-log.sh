
# --- the log since the restart ---
#
# Usually the log is unchanged since the mark, or has grown by a few lines without a
# denied one: these two cases are fast. Times are hundredths of a second since the
# epoch.

# find_log resolves the log's path. It sets $log_unsafe to a folder that non-root users
# can write, if the path has a link in such a folder.
find_log() {
    log_real='' log_place='' log_name='' log_unsafe=''
    walk "$log" || return 0
    links_safe || { log_unsafe=$unsafe; return; }
    log_real=$walked log_place=$ROOT${walked%/*} log_name=${walked##*/}
}

# log_part SKIP COUNT [NAME] prints bytes of the log, or of a file next to it.
log_part() { contents "$log_place" "${3:-$log_name}" "$1" "$2"; }

# The limit on what is read of the log, from its start and from its end, in bytes.
log_most=2097152

# parts splits long lines into parts of 4000 bytes, because a line of megabytes is
# expensive to search. The parts overlap by 300 bytes.
parts() { exec awk '{ for (i = 1; i == 1 || i + 300 <= length($0); i += 3700) print substr($0, i, 4000) }'; }

# log_span FROM [NAME] prints a file of the log from that byte on; if it has grown by
# more than twice $log_most, only the first and the last part.
log_span() {
    end=$(stat -c %s -- "$log_place/${2:-$log_name}" 2>/dev/null) || return 0
    (log_part "$1" "$log_most" "${2:-}")
    from=$(($1 + log_most)) last=$((end - log_most))
    [ "$end" -gt "$from" ] || return 0
    [ "$last" -le "$from" ] || { printf '\n'; from=$last; }
    (log_part "$from" "$log_most" "${2:-}")
}

# log_mark records where the log ends, as stat_all or stat_here saw it, and the bytes
# before that.
log_mark() {
    mark_up=$stat_up mark_state='' mark_size='' mark_inode='' mark_bytes='' mark_head='' log_at='' log_is='' start_time='' start_late=''
    [ -n "$log_state" ] || return 0
    mark_state=$log_state mark_size=$log_size mark_inode=$log_inode
    log_bytes
    mark_bytes=$bytes
    log_head
    mark_head=$head
}

# log_bytes [NAME] sets $bytes to the last 256 bytes before the mark, without trailing
# newlines.
log_bytes() {
    bytes=''
    [ "$mark_size" -gt 0 ] || return 0
    before_mark
    { bytes=$(log_part "$((mark_size - count))" "$count" "${1:-}"); } 2>/dev/null
}

before_mark() { count=$((mark_size < 256 ? mark_size : 256)); }

# log_head sets $head to the first bytes of the log, unless $bytes contains them.
log_head() {
    head=''
    [ "$mark_size" -gt 256 ] || return 0
    { head=$(log_part 0 200); } 2>/dev/null
}

# only_added reports whether the log is longer than at the mark and starts with the same
# bytes. systemd 239's StandardOutput=file: overwrites it from byte 0, also if the
# previous process has written after the mark.
only_added() {
    [ "${log_size:-0}" -gt "$mark_size" ] || return
    log_head
    [ "$head" = "$mark_head" ]
}

# has_mark NAME SIZE INODE reports whether that file contains the mark. An empty log has
# no bytes to compare, so there the inode must be the same.
has_mark() {
    [ "${2:-0}" -ge "$mark_size" ] || return 1
    [ "$mark_size" -gt 0 ] || { [ "$3" = "$mark_inode" ]; return; }
    log_bytes "$1"
    [ "$bytes" = "$mark_bytes" ]
}

# log_change sets $log_is to what has happened to the log since the mark: quiet
# (nothing), plain (it has grown by $news, without a denied line), or odd.
log_change() {
    log_is=odd news=''
    if [ "$log_kind" != file ]; then
        [ -n "$mark_size" ] || log_is=quiet
        return
    fi
    [ -n "$mark_size" ] || return 0
    [ "$log_state" != "$mark_state" ] || { log_is=quiet; return; }
    [ "$log_inode" = "$mark_inode" ] && [ "$log_size" -gt "$mark_size" ] && [ "$((log_size - mark_size))" -le 65536 ] || return 0
    before_mark
    { news=$(log_part "$((mark_size - count))" 131072); } 2>/dev/null
    case $news in "$mark_bytes"*) ;; *) return ;; esac
    only_added || return 0
    news=${news#"$mark_bytes"} news=${news#"$NL"}
    printf '%s\n' "$news" | any_denied
    [ $? -ne 1 ] || log_is=plain
}

# any_denied: does a line of stdin match a pattern, or hold a control sequence that
# may be hiding it? As grep(1): 0 yes, 1 no, 2 there is a pattern that it refuses.
any_denied() { matches "$deny$ESC$NL$C1" q; }
ESC=$(printf '\033')
C1=$(printf '\302[\200-\237]')

# log_where sets $log_at to the file that contains the mark: the log, or one of its two
# newest uncompressed rotations (logrotate(8): rename, copytruncate, dateext). It is
# /new if there was no log, /unknown if no file contains the mark.
log_where() {
    log_newer=''
    [ -n "$mark_size" ] || { log_at=/new; return; }
    log_at=$log_name
    [ "$log_kind" != file ] || ! has_mark "$log_name" "$log_size" "$log_inode" || return 0
    # shellcheck disable=SC2010 # sorted by time, which a glob can't do
    rotations=$(enter "$log_place" && ls -td -- "./$log_name"[.-]* 2>/dev/null | grep -Ev '[.](gz|xz|bz2|zst|lz4)$' | head -n 2)
    set -f
    IFS=$NL
    # shellcheck disable=SC2086 # one name a line
    set -- $rotations
    unset IFS
    set +f
    for log_at; do
        log_at=${log_at#./}
        other=$(stat -c '%F:%s:%d:%i' -- "$log_place/$log_at" 2>/dev/null)
        case $other in
        regular*)
            other=${other#*:}
            ! has_mark "$log_at" "${other%%:*}" "${other#*:}" || return 0
            ;;
        esac
        log_newer=$log_at
    done
    log_newer='' log_at=/unknown
}

# for_awk: bare() removes the control sequences of ECMA-48 from a text: strings (OSC,
# DCS and the like; of an unterminated one only its introducer), CSI, and the others;
# also those that UTF-8 encodes as one character (U+0080 to U+009F). at() returns the
# line's own time. Its years start in March, so that the leap day is their last day; a
# time without hundredths means the end of its second, or tenth.
# shellcheck disable=SC2016 # for awk
for_awk='
function bare(text) {
    if (index(text, "\302")) {
        gsub(/\302\220/, "\033P", text); gsub(/\302\230/, "\033X", text); gsub(/\302\233/, "\033[", text)
        gsub(/\302\235/, "\033]", text); gsub(/\302\236/, "\033^", text); gsub(/\302\237/, "\033_", text)
        gsub(/\302[\200-\237]/, "", text)
    }
    if (index(text, "\033")) {
        gsub(/\033[]PX^_][^\007\033]*(\007|\033\\)/, "", text)
        gsub(/\033\[[0-?]*[\040-\057]*[@-~]/, "", text)
        gsub(/\033[\040-\057]*[0-~]?/, "", text)
    }
    return text
}
function at(  y, m, f) {
    y = substr($0, 1, 4) + 0; m = substr($0, 6, 2) + 0
    if (m < 3) { y--; m += 12 }
    f = substr($0, 20, 1) == "." ? substr($0, 21, 2) : ""
    if (f !~ /^[0-9][0-9]$/) f = f ~ /^[0-9]/ ? substr(f, 1, 1) 9 : 99
    y = 365 * y + int(y / 4) - int(y / 100) + int(y / 400) + int((153 * m - 457) / 5) + substr($0, 9, 2) - 719469
    return ((y * 24 + substr($0, 12, 2)) * 60 + substr($0, 15, 2)) * 6000 + substr($0, 18, 2) * 100 + f
}'

# run_stats: is_stats() reports whether the line is the agent's own about a run of an SFTP
# source, complete, and not a line that quotes such a text, such as the name of a file;
# pipeline() and stat() return what it says. A number has at most 15 digits: more are not exact.
# shellcheck disable=SC2016 # for awk
run_stats='
function is_stats() {
    return index($0, " RunStats {") && $0 ~ /^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9:.]*Z +[A-Z]+ sftp_pull[{]pipeline_id="[^"{}]*"[^{}]*[}](:[a-z_]+[{][^{}]*[}])*: [a-z_:]+: Run lasted [0-9a-z ]+ with result: RunStats [{]( [a-z_]+: [0-9]+,?)+ [}]$/
}
function pipeline(  text) {
    text = substr($0, index($0, "{pipeline_id=\"") + 14)
    return substr(text, 1, index(text, "\"") - 1)
}
function stat(name,  i) {
    i = index($0, " " name ": ")
    return i ? substr($0, i + length(name) + 3, 15) + 0 : 0
}'

# not_before TIME prints the lines whose own time is not before TIME; a line without a
# time goes with the line above it.
not_before() {
    exec awk -v t="$1" "$for_awk"'/^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T/ { on = at() >= t } on'
}

# since_start sets $start_time and $start_late: the running process started between the
# two. Each clock has a resolution of a hundredth, and they are not read at once.
since_start() {
    both_clocks
    start_late=$((now - earlier + started / 10000 + 2))
    start_time=$((now - up + started / 10000 - 2))
    mark_time=$((now - up + mark_up))
}

# strip_colour removes control sequences, and NUL bytes, because bash complains about
# them.
strip_colour() { tr -d '\000' | awk "$for_awk"'{ print bare($0) }'; }

# own_lines START [LAST] removes control sequences, and the lines with a time between
# the mark and START: the previous process wrote them while it stopped. Other lines
# count, in case a clock jumps. With LAST it prints at most that many lines, and before
# them whether one is certainly the running process's ("own"), and what its runs have said:
# how many files $pipelines have uploaded, and how many uploads of any pipeline have failed,
# for a cause that may pass and for another one.
own_lines() {
    exec awk -v from="$mark_time" -v to="$1" -v late="$start_late" -v last="${2:-0}" -v pipelines="$pipelines" "$for_awk$run_stats"'
        BEGIN { on = 1; sure = 1 }
        { $0 = bare($0) }
        to != "" && /^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9:.]*Z/ {
            t = at()
            on = t < from || t >= to
            sure = t < from || t >= late
        }
        !on { next }
        !last { print; next }
        { own = own || sure && $0 != ""; kept[n++ % last] = substr($0, 1, 1000) }
        # Not a time before the mark: the old process may have kept such a line.
        to != "" && is_stats() && t >= late {
            if (index(pipelines, "\"" pipeline() "\"")) uploads += stat("successful_uploads")
            retryable += stat("retryable_errors"); other += stat("non_retryable_errors")
        }
        END {
            if (last) printf "%s %.0f %.0f %.0f\n", own ? "own" : "unsure", uploads, retryable, other
            for (i = n > last ? n - last : 0; last && i < n; i++) print kept[i % last]
        }'
}

# log_since prints the log since the mark. log_own prints only what the running process
# has certainly written; the rest may be its predecessor's, and proves nothing.
log_since() { log_raw | own_lines "$start_time"; }
log_own() { log_raw | own_lines "$start_late"; }

# log_raw prints what has been written since the mark.
log_raw() {
    case $log_is in
    quiet) return ;;
    plain) printf '%s\n' "$news"; return ;;
    esac
    case $log_at in
    /new) log_span 0 ;;
    /unknown) [ "$log_kind" != file ] || log_tail "$((2 * log_most))" | parts | strip_colour | not_before "$mark_time" ;;
    "$log_name")
        log_span "$mark_size"
        only_added || log_part 0 "$mark_size" | parts | strip_colour | not_before "$mark_time"
        ;;
    *)
        log_span "$mark_size" "$log_at"
        [ -z "$log_newer" ] || log_span 0 "$log_newer"
        log_span 0
        ;;
    esac | tr -d '\000' | parts
}

# log_tail COUNT prints the last bytes of the log.
log_tail() { log_part "$((log_size > $1 ? log_size - $1 : 0))" "$1"; }

# log_before sets $before to the last denied lines that the log has already. If there
# are none, it sets $no_denied to the state of the log.
no_denied='' bounded=''
log_before() {
    now_up
    before='' mark_up=$up
    [ "$log_kind" = file ] || { patterns_work; return; }
    log_tail 65536 | any_denied
    case $? in
    0) before=$(log_tail 65536 | parts | strip_colour | matches "$deny" | tail -n 20 | cut -c 1-500) ;;
    1) no_denied=$log_state$NL$deny ;;
    *) patterns_work ;;
    esac
}

# since N prints the lines of $before that are at most N hundredths of a second older
# than the mark.
since() { printf '%s\n' "$before" | not_before "$((mark_time - $1))"; }

# denied_lately prints the lines of $before that the running process has certainly
# written, at most five minutes old.
denied_lately() {
    [ -n "$before" ] || return 0
    since_start
    since 30000 | not_before "$start_late"
}

# matches PATTERNS [q] prints the lines of stdin that match any of them (POSIX ERE, one
# a line); with q it only reports whether there are any. Like own_lines and not_before it
# replaces the calling shell, which is part of a pipe.
matches() {
    options=-aE${2:-}
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
    # shellcheck disable=SC2086 # no word when empty
    exec ${bounded:-} grep "$options" "$@"
}

# patterns_work [TIMEOUT COMMAND] refuses patterns that grep does not accept: a single
# one would disable all others.
patterns_work() {
    bounded=${1:-}
    (matches "$deny$expect" </dev/null >/dev/null 2>&1)
    [ $? -le 1 ] || refuse configuration "grep on the host rejects a pattern of health.deny or health.expect${bounded:+, or takes too long}"
    bounded=''
}

# log_denied sets $denied to the line that fails the host. A pattern that also matched
# before the restart, within as much time as has passed since, is reported and does not
# fail the host, unless the line names the new certificate.
log_denied() {
    denied=''
    log_since | matches "$deny" q || return 1
    IFS=$NL
    set -f
    for pattern in $deny; do
        hit=$(log_since | grep -aE -e "$pattern" 2>/dev/null | head -c 65536)
        [ -n "$hit" ] || continue
        named=''
        [ -z "$thumbprint" ] || named=$(log_since | grep -aiF -e "$thumbprint" | grep -aE -e "$pattern" 2>/dev/null | head -c 65536)
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

# clip TEXT prints its first line, at most 500 characters.
clip() { printf '%s\n' "$1" | cut -c 1-500 | head -n 1; }

# log_expected reports whether the running process has logged all expected lines; if
# not, $missing is the pattern. A pattern that has matched is not searched again.
log_expected() {
    missing=''
    IFS=$NL
    set -f
    for pattern in $expect; do
        case $NL$seen_expect in *"$NL$pattern$NL"*) continue ;; esac
        if log_own | grep -aqE -e "$pattern"; then seen_expect=$seen_expect$pattern$NL; else missing=$pattern; fi
    done
    set +f
    unset IFS
    [ -z "$missing" ]
}
