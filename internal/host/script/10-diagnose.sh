
# --- diagnose: what the agent's own tool tells of it, as one zip ---

# gather runs the tool in a folder that is root's own, for at most $diagnostics
# seconds, and leaves $folder/zip there; or nothing, and $why begins with a class.
# It runs in a process of its own and prints nothing.
gather() {
    tool=/usr/bin/microsoft/az-aoi-ingestion-gather-diags
    if [ ! -f "$ROOT$tool" ] || [ ! -x "$ROOT$tool" ]; then
        why="configuration the host has no $tool"
        return 1
    fi
    # What the tool may write: never more than half of what is free, because the
    # agent needs room too, and the login user's copy comes from the same disk.
    most=$(($(free_in "$state") / 2))
    [ "$most" -ge 1048576 ] || { why="disk there is no room for the diagnostics in $state"; return 1; }
    [ "$most" -lt "$size" ] || most=$size
    { rm -rf -- "$folder" && mkdir -- "$folder" "$folder/out" "$folder/tmp"; } 2>/dev/null ||
        { why="disk nothing can be written in $state"; return 1; }
    said=$(run_tool | timeout "$((diagnostics + 8))" tail -c 2000 | tr -d '\000' | tail -n 1)
    take_zip && return
    rm -rf -- "$folder"
    return 1
}

free_in() {
    value=$(stat -f -c '%a %S' -- "$1" 2>/dev/null) || value='0 0'
    printf '%s' "$((${value% *} * ${value#* }))"
}

# run_tool: not with the operator's input or the locks. The tool has to end in
# time, and who reads its words too: what it left behind may hold them open.
run_tool() {
    {
        cd -- "$folder/out" || exit
        # Blocks of 512 bytes, as POSIX has it; a bash that is not called sh has larger
        # ones. Where the limit is lower already it stays.
        ulimit -f "$((most / 512))" 2>/dev/null || :
        TMPDIR=$folder/tmp timeout -k 5 "$diagnostics" "$ROOT$tool"
        printf '%s\n' $? >"$folder/status"
    } 2>&1 3<&- 6>&- 7>&-
}

# take_zip: exactly one file may be there, and no symlink: that would lead root
# to hand out another.
take_zip() {
    status=''
    { read -r status <"$folder/status"; } 2>/dev/null
    case $status in
    0) ;;
    124 | 137) why="timeout the agent's tool did not end within ${diagnostics}s"; return 1 ;;
    153) why="disk the agent's tool writes more than $most bytes"; return 1 ;;
    *)
        why="command the agent's tool failed (exit status ${status:-unknown})${said:+: $said}"
        case $said in *'space left'* | *'too large'* | *'size limit'* | *[qQ]uota*) why="disk ${why#* }" ;; esac
        return 1
        ;;
    esac
    set -- "$folder"/out/*.zip
    [ -e "$1" ] || [ -L "$1" ] || { why="command the agent's tool wrote no zip${said:+: $said}"; return 1; }
    [ $# -eq 1 ] || { why="command the agent's tool wrote $# zips"; return 1; }
    if [ ! -f "$1" ] || [ -L "$1" ]; then
        why="command what the agent's tool wrote is not a regular file"
        return 1
    fi
    bytes=$(stat -c %s -- "$1")
    [ "$bytes" -gt 0 ] || { why="command the agent's tool wrote an empty zip"; return 1; }
    [ "$bytes" -le "$size" ] || { why="disk the zip has $bytes bytes, more than the $size that are taken"; return 1; }
    mv -T -- "$1" "$folder/zip" 2>/dev/null || { why='disk the zip can not be moved'; return 1; }
    rm -rf -- "$folder/out" "$folder/tmp" "$folder/status"
}

# unhealthy REASON: the way back; before it, where that is asked for, a look at
# the agent that needs it. A failure to gather stops nothing.
unhealthy() {
    [ -z "$halted" ] || undo agent_not_running "$1"
    if [ "$diagnostics" -gt 0 ]; then
        say step diagnostics
        # The switch waits for the tool too, and for who waits for that.
        hold=$((hold + diagnostics + 15))
        extend
        hold=$((hold - diagnostics - 15))
        (exec 7>&- && folder=$state/diags-$run && { gather || { say note "no diagnostics: ${why#* }"; exit 1; }; }) &&
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
    folder=$state/diags-$run
    trap 'take_away' EXIT
    trap 'exit 143' INT TERM
    if [ "$diagnostics" -gt 0 ]; then
        say step gather
        gather || refuse "${why%% *}" "${why#* }"
    fi
    [ -f "$folder/zip" ] || { say result none; return; }
    bytes=$(stat -c %s -- "$folder/zip")
    digests "$folder/zip"
    say zip "$bytes ${sums%"$NL"}"
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
    free=$(as_caller stat -f -c '%a %S' . 2>/dev/null) || free='0 0'
    [ "$((${free% *} * ${free#* }))" -gt "$((bytes + 1048576))" ] || {
        take_away
        refuse disk "there is no room for $bytes bytes in the login directory"
    }
    said=$({ as_caller mkdir -- "$source" && as_caller dd "of=$source/diagnostics.zip" bs=1048576 iflag=fullblock conv=excl status=none <"$folder/zip"; } 2>&1) || {
        take_away
        refuse disk "the diagnostics can not be written in the login directory: ${said##*: }"
    }
    rm -rf -- "$folder"
}

take_away() {
    trap - EXIT
    rm -rf -- "$folder"
    within=''
    as_caller rm -rf -- "$source" 2>/dev/null
}
