
# --- diagnose: what the agent's own tool tells of it, as one zip ---
#
# The tool is the vendor's, and what it reads the agent's user can write. So it runs
# as that user, with nothing of root's, and root takes nothing from it but bytes out
# of pipes: also the zip is read with that user's rights.
#
# It works in a folder of its own, $work, that this user can reach and write: not in
# $state, which is root's alone, but in /var/lib. Only root makes names there, so
# nobody can put another thing in its place, as in /tmp or /var/tmp; those are often
# small or mounted noexec, which keeps a tool that unpacks itself from running. A run
# that was killed leaves it, under a name that tells the unit and the run.

# gather runs the tool, for at most $diagnostics seconds, and leaves $folder/zip; or
# nothing, and $why begins with a class. It runs in a process of its own and prints
# nothing.
gather() {
    tool=/usr/bin/microsoft/az-aoi-ingestion-gather-diags
    if [ ! -f "$ROOT$tool" ] || [ ! -x "$ROOT$tool" ]; then
        why="configuration the host has no $tool"
        return 1
    fi
    tool_user || return
    # What the tool may write: never more than a third of what is free, because the
    # agent needs room too, and the copies of root and of the login user come from the
    # same disk.
    tool_most=$(($(free_in "$ROOT/var/lib") / 3))
    [ "$tool_most" -ge 1048576 ] || { why='disk there is no room for the diagnostics in /var/lib'; return 1; }
    [ "$tool_most" -lt "$size" ] || tool_most=$size
    if make_work 2>/dev/null; then
        said=$(run_tool | timeout -k 2 "$((diagnostics + 8))" tail -c 2000 | tr -d '\000' | tail -n 1)
        ran && take_zip && { clear_work; return 0; }
    else
        why="disk nothing can be written in /var/lib"
    fi
    take_away_zip
    return 1
}

# diags_places: root's own folder, and the tool's.
diags_places() { folder=$state/diags-$run work=$ROOT/var/lib/aoifleet-diags-$unit-$run; }

# tool_user leaves in $as_user and $as_group as whom the tool runs; empty for root, where
# the agent itself is root. Where the unit does not tell, it is not taken for root's.
tool_user() {
    as_user='' as_group='' as=''
    [ "$as_root" != yes ] || return 0
    [ "$load" = loaded ] || { why="configuration $unit is not loaded, so as whom the agent's tool has to run is unknown"; return 1; }
    [ -n "$user" ] || return 0
    value=$(id -u -- "$user" 2>/dev/null) || { why="configuration the host has no user $user, which $unit runs as"; return 1; }
    [ "$value" != "$(id -u)" ] || return 0
    command -v setpriv >/dev/null || { why='configuration the host has no setpriv'; return 1; }
    as_user=$user as_group=${group:-$(id -g -- "$user")} as=" as user $user"
}

free_in() {
    value=$(stat -f -c '%a %S' -- "$1" 2>/dev/null) || value='0 0'
    printf '%s' "$((${value% *} * ${value#* }))"
}

make_work() {
    clear_work && rm -rf -- "$folder" && mkdir -- "$folder" && mkdir -m 711 -- "$work" && mkdir -m 700 -- "$work/out" "$work/tmp" &&
        { [ -z "$as_user" ] || chown -- "$as_user:$as_group" "$work/out" "$work/tmp"; }
}

# clear_work takes the folder from the user first, who then can make no more names in
# it. rm(1) follows no link. What that user has mounted there may keep any of it waiting.
clear_work() {
    [ -d "$work" ] || return 0
    # shellcheck disable=SC2016 # for the other shell
    timeout -k 2 20 sh -c 'chown 0:0 -- "$1/out" "$1/tmp"; chmod 700 -- "$1" "$1/out" "$1/tmp"; exec rm -rf --one-file-system -- "$1"' \
        sh "$work" >/dev/null 2>&1 3<&- 6>&- 7>&-
}

# sweep_work removes what killed runs have left, after an hour.
sweep_work() {
    for work in "$ROOT/var/lib/aoifleet-diags-$unit-"*; do
        [ -z "$(find "$work" -maxdepth 0 -mmin +60 2>/dev/null)" ] || clear_work
    done
}

# run_tool: its words may be held open by what it has left behind, so who reads them
# has to end in time too.
run_tool() {
    {
        # Blocks of 512 bytes, as POSIX has it; a bash that is not called sh has larger
        # ones. Where the limit is lower already it stays.
        ulimit -f "$((tool_most / 512))" 2>/dev/null || :
        within=$diagnostics
        # shellcheck disable=SC2016 # for the other shell
        without_rights "$as_user" "$as_group" sh -c 'cd -- "$1/out" && HOME=$1/tmp TMPDIR=$1/tmp && export HOME TMPDIR && exec "$2"' sh "$work" "$ROOT$tool"
        printf '%s\n' $? >"$folder/status"
    } 2>&1
}

read_status() {
    status=''
    { read -r status <"$folder/status"; } 2>/dev/null
}

# ran: has the tool come to a good end?
ran() {
    read_status
    case $status in
    0) return 0 ;;
    124 | 137) why="timeout the agent's tool did not end within ${diagnostics}s" ;;
    153) why="disk the agent's tool writes more than $tool_most bytes" ;;
    *)
        why="command the agent's tool failed$as (exit status ${status:-unknown})${said:+: $said}"
        case $said in *'space left'* | *'too large'* | *'size limit'* | *[qQ]uota*) why="disk ${why#* }" ;; esac
        ;;
    esac
    return 1
}

# the_zip prints the one zip that is there. It is for the user's own shell, and only
# tells what a sound tool has done wrong: that user can lie, but about its own bytes.
# shellcheck disable=SC2016
the_zip='cd -- "$1" || exit
set -- ./*.zip
[ -e "$1" ] || [ -L "$1" ] || exit 90
[ $# -eq 1 ] || exit 91
[ -f "$1" ] && [ ! -L "$1" ] || exit 92
exec dd if="$1" bs=1048576 iflag=nofollow,nonblock status=none'

# copying is how many seconds that may take.
copying() { printf '%s' "$((10 + size / 16777216))"; }

# take_zip copies what the tool has left, bounded in size and time, into root's own
# folder. It is a copy because that user may hold the file open.
take_zip() {
    within=$(copying)
    copied=$({ { without_rights "$as_user" "$as_group" sh -c "$the_zip" sh "$work/out" 2>/dev/null; printf '%s\n' $? >"$folder/status"; } |
        timeout -k 2 "$((within + 5))" head -c "$((size + 1))" >"$folder/zip"; } 2>&1)
    case $? in
    0) ;;
    124 | 137) why="timeout the zip could not be read within ${within}s"; return 1 ;;
    *) why="disk the zip can not be copied to $state: ${copied##*: }"; return 1 ;;
    esac
    read_status
    zip_size=$(stat -c %s -- "$folder/zip")
    case $status:$zip_size in
    90:*) why="command the agent's tool wrote no zip$as${said:+: $said}" ;;
    91:*) why="command the agent's tool wrote more than one zip" ;;
    92:*) why="command what the agent's tool wrote is not a regular file" ;;
    0:0) why="command the agent's tool wrote an empty zip" ;;
    *)
        [ "$zip_size" -le "$size" ] || { why="disk the zip has more than the $size bytes that are taken"; return 1; }
        [ "$status" = 0 ] || { why="command the zip can not be read$as"; return 1; }
        rm -f -- "$folder/status"
        return
        ;;
    esac
    return 1
}

# unhealthy REASON: the way back; before it, where that is asked for, a look at
# the agent that needs it. A failure to gather stops nothing.
unhealthy() {
    [ -z "$halted" ] || undo agent_not_running "$1"
    if [ "$diagnostics" -gt 0 ]; then
        say step diagnostics
        # The switch waits for the tool too, for who waits for that, and for the copy.
        patience=$((diagnostics + $(copying) + 65))
        hold=$((hold + patience))
        extend
        hold=$((hold - patience))
        # Never as root: nobody was asked.
        as_root=no
        (exec 7>&- && diags_places && { gather || { say note "no diagnostics: ${why#* }"; exit 1; }; }) &&
            say gathered yes
        extend
    fi
    undo "${class:-unhealthy}" "$1"
}

# diagnose: gathers, or takes what a rotation of this run has gathered
# ($diagnostics is 0), and hands it to the login user. The operator says how, and
# when it has arrived; whatever he says, or if he is gone, nothing is left.
diagnose() {
    staging_folder
    own_folder
    make_state || refuse disk "$state can not be made, or is not root's own"
    diags_places
    trap 'take_away' EXIT
    trap 'exit 143' INT TERM
    if [ "$diagnostics" -gt 0 ]; then
        say step gather
        unit_state
        gather || refuse "${why%% *}" "${why#* }"
    fi
    [ -f "$folder/zip" ] || { say result none; return; }
    zip_size=$(stat -c %s -- "$folder/zip")
    digests "$folder/zip"
    say zip "$zip_size ${sums%"$NL"}"
    case $(word) in
    keep)
        trap - EXIT
        say result kept
        ;;
    send)
        cat -- "$folder/zip"
        printf '\n'
        take_away
        say result gathered
        ;;
    hand)
        hand_over
        say handed yes
        # Arrived, or given up.
        word >/dev/null
        take_away
        say result gathered
        ;;
    esac
}

# word is what the operator says next; nothing once he is silent for too long.
word() { timeout "$hold" head -n 1 <&3; }

# hand_over copies the zip, with the login user's own rights, into a folder that
# only that user can read.
hand_over() {
    within=$hold
    free=$(as_caller stat -f -c '%a %S' . 2>/dev/null | timeout -k 2 12 head -c 100)
    case $free in *[!0-9\ ]* | *' '*' '* | ' '* | *' ' | '' | ??????????????????*) free='0 0' ;; esac
    [ "$((${free% *} * ${free#* }))" -gt "$((zip_size + 1048576))" ] || {
        take_away
        refuse disk "there is no room for $zip_size bytes in the login directory"
    }
    # Whoever has that user's rights can say that it failed, and not that it did not.
    said=$({ { as_caller mkdir -- "$source" && as_caller dd "of=$source/diagnostics.zip" bs=1048576 iflag=fullblock conv=excl status=none <"$folder/zip"; } || printf ' failed'; } 2>&1 |
        timeout -k 2 "$((2 * hold + 10))" head -c 2000)
    [ -z "$said" ] || {
        take_away
        refuse disk "the diagnostics can not be written in the login directory: ${said##*: }"
    }
    rm -rf -- "$folder"
}

# take_away_zip removes what is in root's own folder, and where the tool was at work.
take_away_zip() {
    rm -rf -- "$folder"
    clear_work
}

take_away() {
    trap - EXIT
    take_away_zip
    within=''
    as_caller rm -rf -- "$source" >/dev/null 2>&1
}
