
# --- the log since the restart ---
#
# Mostly the log has not been written since the mark, or has grown by a few
# lines in which nothing is denied: that is told at once. The rest is judged at
# length. Times are hundredths of a second since the epoch.

# find_log resolves the log's path, once in a call. $log_unsafe is a folder that
# others than root can write, and in which the path has a link.
find_log() {
    log_real='' log_place='' log_name='' log_unsafe=''
    walk "$log" || return 0
    followed || { log_unsafe=$unsafe; return; }
    log_real=$walked log_place=$ROOT${walked%/*} log_name=${walked##*/}
}

# log_part SKIP COUNT [NAME] prints bytes of the log, or of a file beside it.
log_part() { contents "$log_place" "${3:-$log_name}" "$1" "$2"; }

# How much of the log is looked at, from its start and from its end, in bytes.
log_most=2097152

# parts cuts long lines into parts of 4000 bytes: one of megabytes would cost all who
# look at it as much. What lies across two parts is in both.
parts() { exec awk '{ for (i = 1; i == 1 || i + 300 <= length($0); i += 3700) print substr($0, i, 4000) }'; }

# log_span FROM [NAME] prints a file of the log from there on; of one that has
# grown by more the first and the last part.
log_span() {
    end=$(stat -c %s -- "$log_place/${2:-$log_name}" 2>/dev/null) || return 0
    (log_part "$1" "$log_most" "${2:-}")
    from=$(($1 + log_most)) last=$((end - log_most))
    [ "$end" -gt "$from" ] || return 0
    [ "$last" -le "$from" ] || { printf '\n'; from=$last; }
    (log_part "$from" "$log_most" "${2:-}")
}

# log_mark remembers where the log ends, as the last look at the files has it, and
# the bytes before.
log_mark() {
    mark_up=$looked_at mark_state='' mark_size='' mark_inode='' mark_bytes='' mark_head='' log_at='' log_is='' start_time='' start_late=''
    [ -n "$log_state" ] || return 0
    mark_state=$log_state mark_size=$log_size mark_inode=$log_inode
    log_bytes
    mark_bytes=$bytes
    log_head
    mark_head=$head
}

# log_bytes [NAME] leaves in $bytes the last 256 bytes before the mark, without line
# ends at their end.
log_bytes() {
    bytes=''
    [ "$mark_size" -gt 0 ] || return 0
    before_mark
    { bytes=$(log_part "$((mark_size - count))" "$count" "${1:-}"); } 2>/dev/null
}

before_mark() { count=$((mark_size < 256 ? mark_size : 256)); }

# log_head leaves in $head the first bytes of the log, where log_bytes does not
# hold them too.
log_head() {
    head=''
    [ "$mark_size" -gt 256 ] || return 0
    { head=$(log_part 0 200); } 2>/dev/null
}

# only_added: has the log become longer, and begins as it did at the mark?
# systemd 239's StandardOutput=file: writes over it from byte 0, also where the
# last words of the process before stand after the mark.
only_added() {
    [ "${log_size:-0}" -gt "$mark_size" ] || return
    log_head
    [ "$head" = "$mark_head" ]
}

# log_begins_in NAME SIZE INODE: does that file hold the mark? An empty log has no
# bytes to tell it by, so there the file has to be the same.
log_begins_in() {
    [ "${2:-0}" -ge "$mark_size" ] || return 1
    [ "$mark_size" -gt 0 ] || { [ "$3" = "$mark_inode" ]; return; }
    log_bytes "$1"
    [ "$bytes" = "$mark_bytes" ]
}

# log_news leaves in $log_is what has become of the log since the mark: quiet,
# plain (it has grown by $news, in which nothing is denied), or odd.
log_news() {
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

# log_where finds the file that holds the mark: the log, or one of its two
# newest uncompressed rotations (logrotate(8): rename, copytruncate, dateext).
log_where() {
    log_newer=''
    [ -n "$mark_size" ] || { log_at=/new; return; }
    log_at=$log_name
    [ "$log_kind" != file ] || ! log_begins_in "$log_name" "$log_size" "$log_inode" || return 0
    # shellcheck disable=SC2010 # by time, which a glob can't
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
            ! log_begins_in "$log_at" "${other%%:*}" "${other#*:}" || return 0
            ;;
        esac
        log_newer=$log_at
    done
    log_newer='' log_at=/unknown
}

# for_awk: bare() takes the control sequences of ECMA-48 out of a text: strings
# (OSC, DCS and the like; of one without an end only its introducer), CSI, and the
# rest; also those that UTF-8 writes as one character (U+0080 to U+009F). at()
# tells when the line says that it was written. Its years begin in March, so that
# the leap day is their last; a time that is coarser than a hundredth is taken as
# its end.
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

# not_before TIME: lines whose own time is not before it; a line without a time
# goes with the one above it.
not_before() {
    exec awk -v t="$1" "$for_awk"'/^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T/ { on = at() >= t } on'
}

# since_start notes between which two times the process that runs was started:
# neither clock is read finer than to a hundredth, nor both at once.
since_start() {
    both_clocks
    start_late=$((now - earlier + started / 10000 + 2))
    start_time=$((now - up + started / 10000 - 2))
    mark_time=$((now - up + mark_up))
}

# strip_colour also drops NUL bytes, about which bash complains.
strip_colour() { tr -d '\000' | awk "$for_awk"'{ print bare($0) }'; }

# own_lines START [LAST] drops control sequences, and what the process before has
# written on its way out, between the mark and START. Only that span: should a clock
# jump, a line counts. With LAST it prints no more than so many lines, and before them whether one
# of them is the running process's for certain.
own_lines() {
    exec awk -v from="$mark_time" -v to="$1" -v late="$start_late" -v last="${2:-0}" "$for_awk"'
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
        END {
            if (last) print own ? "own" : "not own"
            for (i = n > last ? n - last : 0; last && i < n; i++) print kept[i % last]
        }'
}

# log_since prints the log since the mark, and log_own what the process that
# runs has written of it for certain; the rest may be its predecessor's, and
# proves nothing.
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

# log_before keeps the last denied lines of the log as it is now: what was there
# already. Where there is none, $calm remembers of which log that was said.
calm=''
log_before() {
    now_up
    before='' mark_up=$up
    [ "$log_kind" = file ] || { patterns_work; return; }
    log_tail 65536 | any_denied
    case $? in
    0) before=$(log_tail 65536 | parts | strip_colour | matches "$deny" | tail -n 20 | cut -c 1-500) ;;
    1) calm=$log_state$NL$deny ;;
    *) patterns_work ;;
    esac
}

# since N: those of the lines kept by log_before that are at most N hundredths of
# a second older than the mark.
since() { printf '%s\n' "$before" | not_before "$((mark_time - $1))"; }

# denied_lately: those of the lines kept by log_before that the process that
# runs has written for certain, at most five minutes old.
denied_lately() {
    [ -n "$before" ] || return 0
    since_start
    since 30000 | not_before "$start_late"
}

# matches PATTERNS [q]: the lines of stdin that match any of them (POSIX ERE, one
# a line); with q it only tells whether there are any. Like own_lines and not_before it
# takes the place of the shell that calls it, one of a pipe.
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

# patterns_work [BOUNDED BY]: one that grep refuses would switch off all others.
patterns_work() {
    bounded=${1:-}
    (matches "$deny$expect" </dev/null >/dev/null 2>&1)
    [ $? -le 1 ] || refuse configuration "grep on the host does not understand a pattern of health.deny or health.expect${bounded:+, or not in time}"
    bounded=''
}

# log_denied leaves in $denied the line that fails the host. A pattern that
# matched as long before the restart as has passed since is reported and does
# not fail it, unless the line names the new certificate.
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

# clip: the first line of TEXT, short enough for a line of our own.
clip() { printf '%s\n' "$1" | cut -c 1-500 | head -n 1; }

# log_expected: has the running process said all that is expected? What it has said
# once need not be looked for again.
log_expected() {
    missing=''
    IFS=$NL
    set -f
    for pattern in $expect; do
        case $NL$said_so in *"$NL$pattern$NL"*) continue ;; esac
        if log_own | grep -aqE -e "$pattern"; then said_so=$said_so$pattern$NL; else missing=$pattern; fi
    done
    set +f
    unset IFS
    [ -z "$missing" ]
}
