
# --- diagnose: the output of the agent's diagnostics tool, as one zip ---
#
# The tool is the vendor's, and the agent's user can write everything that it reads. So it
# runs as that user, without root's rights, and root only accepts bytes from pipes: the
# zip, too, is read with that user's rights.
#
# It works in a folder of its own, $work, which this user can write: not in $state, which
# is root's own, but in /var/lib. Only root can create names there, so no other user can
# replace it, as in /tmp or /var/tmp; those are also often small or mounted noexec, where
# a tool that unpacks itself fails. A killed run leaves it; its name has the unit and the
# run.

# gather runs the tool, for at most $diagnostics seconds, and creates $folder/zip. If it
# fails, it leaves nothing, and $why starts with a class. It runs in a process of its own
# and prints nothing.
gather() {
    tool=/usr/bin/microsoft/az-aoi-ingestion-gather-diags
    if [ ! -f "$ROOT$tool" ] || [ ! -x "$ROOT$tool" ]; then
        why="configuration the host has no $tool"
        return 1
    fi
    unit_user || return
    # The tool may write a third of the free space: the agent needs space too, and the
    # copies of root and of the login user are on the same disk.
    tool_most=$(($(free_in "$ROOT/var/lib") / 3))
    [ "$tool_most" -ge 1048576 ] || { why='disk no space for the diagnostics in /var/lib'; return 1; }
    [ "$tool_most" -lt "$size" ] || tool_most=$size
    if make_work 2>/dev/null; then
        said=$(run_tool | timeout -k 2 "$((diagnostics + 8))" tail -c 2000 | tr -d '\000' | tail -n 1)
        tool_ok && copy_zip && { clear_work; return 0; }
    else
        why="disk cannot write in /var/lib"
    fi
    remove_zip
    return 1
}

# diags_places sets $folder, which is root's own, and $work, which is the tool's.
diags_places() { folder=$state/diags-$run work=$ROOT/var/lib/aoifleet-diags-$unit-$run; }

free_in() {
    value=$(stat -f -c '%a %S' -- "$1" 2>/dev/null) || value='0 0'
    printf '%s' "$((${value% *} * ${value#* }))"
}

make_work() {
    clear_work && rm -rf -- "$folder" && mkdir -- "$folder" && mkdir -m 711 -- "$work" && mkdir -m 700 -- "$work/out" "$work/tmp" &&
        { [ -z "$as_user" ] || chown -- "$as_user:$as_group" "$work/out" "$work/tmp"; }
}

# clear_work takes the folder from the user first, who then can't create names in it.
# rm(1) follows no link. A file system that the user has mounted there may block, hence
# the time-out.
clear_work() {
    [ -d "$work" ] || return 0
    # shellcheck disable=SC2016 # for the other shell
    timeout -k 2 20 sh -c 'chown 0:0 -- "$1/out" "$1/tmp"; chmod 700 -- "$1" "$1/out" "$1/tmp"; exec rm -rf --one-file-system -- "$1"' \
        sh "$work" >/dev/null 2>&1 3<&- 6>&- 7>&-
}

# sweep_work removes the folders of killed runs, after an hour.
sweep_work() {
    for work in "$ROOT/var/lib/aoifleet-diags-$unit-"*; do
        [ -z "$(find "$work" -maxdepth 0 -mmin +60 2>/dev/null)" ] || clear_work
    done
}

# run_tool runs the tool and prints its output. A process that it leaves behind may keep
# the output open, so the reader needs a time-out too.
run_tool() {
    {
        # Blocks of 512 bytes, as in POSIX; a bash that is not called sh has larger ones. A
        # lower limit stays.
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

# tool_ok reports whether the tool succeeded; if not, $why has class and reason.
tool_ok() {
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

# print_zip prints the only zip in a folder. It runs in the user's own shell, so its checks
# only find mistakes of the tool: that user can lie, but only about its own bytes.
# shellcheck disable=SC2016
print_zip='cd -- "$1" || exit
set -- ./*.zip
[ -e "$1" ] || [ -L "$1" ] || exit 90
[ $# -eq 1 ] || exit 91
[ -f "$1" ] && [ ! -L "$1" ] || exit 92
exec dd if="$1" bs=1048576 iflag=nofollow,nonblock status=none'

# copy_time prints the limit on the time of the copy, in seconds.
copy_time() { printf '%s' "$((10 + size / 16777216))"; }

# copy_zip copies the zip into root's own folder, with limits on size and time. root does
# not use the file itself, because that user may have it open.
copy_zip() {
    within=$(copy_time)
    copied=$({ { without_rights "$as_user" "$as_group" sh -c "$print_zip" sh "$work/out" 2>/dev/null; printf '%s\n' $? >"$folder/status"; } |
        timeout -k 2 "$((within + 5))" head -c "$((size + 1))" >"$folder/zip"; } 2>&1)
    case $? in
    0) ;;
    124 | 137) why="timeout the zip could not be read within ${within}s"; return 1 ;;
    *) why="disk cannot copy the zip to $state: ${copied##*: }"; return 1 ;;
    esac
    read_status
    zip_size=$(stat -c %s -- "$folder/zip")
    case $status:$zip_size in
    90:*) why="command the agent's tool wrote no zip$as${said:+: $said}" ;;
    91:*) why="command the agent's tool wrote more than one zip" ;;
    92:*) why="command what the agent's tool wrote is not a regular file" ;;
    0:0) why="command the agent's tool wrote an empty zip" ;;
    *)
        [ "$zip_size" -le "$size" ] || { why="disk the zip is larger than the limit of $size bytes"; return 1; }
        [ "$status" = 0 ] || { why="command cannot read the zip$as"; return 1; }
        rm -f -- "$folder/status"
        return
        ;;
    esac
    return 1
}

# diagnose gathers diagnostics, or uses those that a rotation of this run has gathered
# ($diagnostics is 0), and gives them to the login user or prints them, as the operator
# answers. In every case but keep nothing is left, also if the operator is gone.
diagnose() {
    staging_folder
    use_own_folder
    make_state || refuse disk "cannot create $state, or root does not own it"
    diags_places
    trap 'remove_diags' EXIT
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
    case $(next_answer) in
    keep)
        trap - EXIT
        say result kept
        ;;
    send)
        cat -- "$folder/zip"
        printf '\n'
        remove_diags
        say result gathered
        ;;
    hand)
        give_zip
        say handed yes
        # The zip has arrived, or the operator has given up.
        next_answer >/dev/null
        remove_diags
        say result gathered
        ;;
    esac
}

# next_answer prints the operator's next answer; nothing after $hold seconds.
next_answer() { timeout "$hold" head -n 1 <&3; }

# give_zip copies the zip, with the login user's own rights, into a folder that only that
# user can read.
give_zip() {
    within=$hold
    free=$(as_caller stat -f -c '%a %S' . 2>/dev/null | timeout -k 2 12 head -c 100)
    case $free in *[!0-9\ ]* | *' '*' '* | ' '* | *' ' | '' | ??????????????????*) free='0 0' ;; esac
    [ "$((${free% *} * ${free#* }))" -gt "$((zip_size + 1048576))" ] || {
        remove_diags
        refuse disk "no space for $zip_size bytes in the login directory"
    }
    # A process with that user's rights can fake a failure, but not a success.
    said=$({ { as_caller mkdir -- "$source" && as_caller dd "of=$source/diagnostics.zip" bs=1048576 iflag=fullblock conv=excl status=none <"$folder/zip"; } || printf ' failed'; } 2>&1 |
        timeout -k 2 "$((2 * hold + 10))" head -c 2000)
    [ -z "$said" ] || {
        remove_diags
        refuse disk "cannot write the diagnostics in the login directory: ${said##*: }"
    }
    rm -rf -- "$folder"
}

# remove_zip removes root's own folder and the tool's.
remove_zip() {
    rm -rf -- "$folder"
    clear_work
}

remove_diags() {
    trap - EXIT
    remove_zip
    within=''
    as_caller rm -rf -- "$source" >/dev/null 2>&1
}
