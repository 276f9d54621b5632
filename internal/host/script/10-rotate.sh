
# --- rotate: back up, arm, swap, restart, watch, confirm; or undo ---

rotate() {
    say step lock
    own_name
    make_state || refuse disk "$state can not be made, or is not root's own"
    nobody_else
    say step check
    check
    say step backup
    back_up
    if [ "$deadman" = yes ]; then
        say step arm
        arm
    fi
    log_mark
    [ "$swap" = no ] || say step swap
    # Until the agent is restarted: it would be in the middle of another's undo.
    { lock 5 && ended pending; } || { exec 6>&-; undo timeout 'the time to confirm was up before the swap'; }
    [ "$swap" = no ] || swap
    if [ "$start" = yes ]; then
        say step restart
        extend
        restart_unit || { exec 6>&-; unhealthy "$why"; }
        exec 6>&-
        say step watch
        watch "$invocation" 0 || unhealthy "$why"
        evidence
        say proof "$proof"
    else
        exec 6>&-
    fi
    extend
    say verdict healthy
    hear || { answer='undo contact with the operator was lost' diagnostics=0; }
    [ "$answer" = "confirm $run" ] || unhealthy "${answer#undo }"
    look_at_files
    same_files || unhealthy "$why"
    confirm
}

# same_files: are the certificate and the configuration still those of this run? Where
# their paths lead, by their inodes, and where these have changed by their bytes. A file
# that is not there has no inode to be known by.
same_files() {
    class=drift
    if ! leads_to "$path" "$real"; then why="$path leads to another file since the rotation began"; not_undone; return; fi
    if [ -z "$file_state" ] || [ "$file_state" != "$file_known" ]; then
        digest_of_live
        case $kind:$live in
        "file:$ours" | "missing:$ours") file_known=$file_state ;;
        *) why="$path was changed during the rotation, and not by it"; not_undone; return ;;
        esac
    fi
    same_config || { why="$config was changed during the rotation"; return 1; }
    class=''
}

# leads_to PATH FILE: the last name of FILE may be a link that has come since, which
# shows as such when it is looked at. What the walk to the certificate has found stays.
leads_to() {
    [ "$1" != "$2" ] || return 0
    (walk "$1" && [ "$walked" = "$2" ])
}

# not_undone fails, with another reason where the dead-man switch has undone the run.
not_undone() {
    [ -n "$claimed" ] || ended pending || { class=timeout why='the time to confirm was up'; }
    return 1
}

# same_config: is the configuration the one that the workstation has read?
same_config() {
    [ -n "$configured" ] || return 0
    leads_to "$config" "$config_real" || return
    if [ -n "$settings" ] && [ "$config_state" = "$settings" ]; then return 0; fi
    read_config
    text=$(printf '%s' "${text:+$text$NL}" | sha256sum)
    [ "${text%% *}" = "$configured" ] || return 1
    settings=$config_state
}

# hear waits for the operator's word. The end of input means that there is nobody
# any more; so does silence, where no switch sees to that.
hear() {
    if [ "$deadman" = yes ]; then
        IFS= read -r answer <&3
    else
        answer=$(timeout "$hold" head -n 1 <&3 6>&- 7>&-)
        [ -n "$answer" ]
    fi
}

# nobody_else: a receipt that has not ended is the lock, for the unit and for its
# certificate.
nobody_else() {
    for receipt in "$ROOT"/var/lib/aoifleet/*/pending "$ROOT"/var/lib/aoifleet/*/undoing; do
        [ ! -f "$receipt" ] || ! in_the_way "$receipt" || refuse locked "$(whose "$receipt")"
    done
}

# in_the_way RECEIPT: is it of this unit, under any of its names, or of one with the
# same certificate? The file may have two paths (mount(8), --bind).
in_the_way() {
    other=${1%/*}
    case " $aliases $unit " in *" ${other##*/} "*) [ "$1" != "$state/pending" ] || ! ended pending; return ;; esac
    { same_certificate <"$1"; } 2>/dev/null
}

same_certificate() {
    while IFS= read -r line; do
        case $line in
        real=*) break ;;
        deny=* | end) return 1 ;;
        esac
    done
    # shellcheck disable=SC3013 # dash, bash and busybox have it
    [ "$line" = "real=$real" ] || [ "$ROOT${line#*=}" -ef "$ROOT$real" ]
}

# whose RECEIPT says in words who holds the host, and until when.
whose() {
    of='' who='' left='' state=${1%/*} whole=''
    case " $aliases " in
    *" ${state##*/} "*) whole=" for ${state##*/} (the same unit)" ;;
    *) [ "${state##*/}" = "$unit" ] || whole=" for ${state##*/} (the same certificate)" ;;
    esac
    [ ! -f "$1" ] || of_receipt "$1" 2>/dev/null
    who="${of:+run $of}${who:+ of $who}"
    if [ -n "$of" ] && alive "$state/backups/$of"; then
        seconds_left "$state/backups/$of"
        printf '%s' "$who is at work on this host$whole${left:+, for at most ${left}s more}"
    elif [ ! -f "$1" ]; then
        printf '%s' "${who:-another run} has ended on this host$whole only now; try again"
    else
        printf '%s' "${who:-a run} was interrupted on this host$whole; run recover"
    fi
}

# alive FOLDER: does the process that made its receipt live? With a shared lock,
# so that two who ask do not take each other for it.
alive() { [ -f "$1/receipt" ] && ! { flock -s -n 0 <"$1/receipt"; } 2>/dev/null; }

check() {
    [ -z "$expect" ] || patterns_work
    planned=$real stays=yes
    find_log
    [ -z "$log_unsafe" ] || refuse configuration "the log $log is a link, and others than root can write the folder $log_unsafe"
    find_config || refuse configuration "$config is a link, and others than root can write the folder $unsafe"
    look_at_file
    case $kind in
    nodir) refuse configuration "the folder of $path does not exist" ;;
    other) refuse configuration "$path is not a regular file" ;;
    moved) refuse drift "the folder of $path was changed just now" ;;
    esac
    [ "$real" = "$planned" ] || refuse drift "$path leads to $real now, not to $planned"
    [ -z "$folder" ] || [ "$here" = "$folder" ] || refuse drift "the folder of $path is not the one that was seen before"
    case $kind:$old in missing:none | file:[!n]*) ;; *) seen_otherwise ;; esac
    [ "${size_of_file:-0}" -le "$most" ] || refuse configuration "$path is larger than 1 MiB"
    same_config || refuse drift "$config is not the configuration that was seen before"
    folder=$here ours=$old file_known=$file_state
    safe_path || [ -z "$untrusted" ] || refuse configuration "$untrusted"
    [ -z "$unsafe" ] || refuse configuration "others than root and the file's owner can write the folder $unsafe"
    [ "$type:$start" != oneshot:yes ] || refuse configuration "$unit is Type=oneshot: whether the agent runs is not known"
    [ "$load" = loaded ] || refuse agent_not_running "$unit is ${load:-not known to systemd}"
    [ "$start" = no ] || [ "$active" != inactive ] || refuse agent_not_running "$unit was stopped meanwhile"
    was=$active invocation=$id
    if [ -z "$log_state" ] || [ "$calm" != "$log_state$NL$deny" ]; then log_before; fi
    sick=no
    ! was_sick || sick=yes
    [ "$start" = yes ] || sick=no
}

# The digest of the file is asked of its copy, in back_up.
seen_otherwise() { refuse drift "$path is not the file that was seen before"; }

# back_up writes everything that is needed to undo, and the new file beside the
# old one; after the sync nothing but renames is left to do. The receipt comes
# first, so that whoever finds it knows where to clean up.
back_up() {
    kept=$state/backups/$run
    [ ! -e "$kept" ] || refuse locked "run $run was here already"
    read -r boot <"$ROOT/proc/sys/kernel/random/boot_id"
    [ -n "$boot" ] || refuse command 'the host does not tell its boot'
    # Two of one name: only who has made the folder may take it away.
    mkdir -- "$kept" 2>/dev/null || [ ! -e "$kept" ] || refuse locked "run $run was here already"
    [ -d "$kept" ] || refuse disk "nothing can be written in $state"
    made=$kept
    receipt 2>/dev/null >"$kept/receipt" || refuse disk "nothing can be written in $state"
    # Held until this process ends: the sign of life of the run.
    { command exec 7<"$kept/receipt" && flock -n 7; } 2>/dev/null || refuse disk "nothing can be locked in $state"
    extend
    take
    set --
    if [ "$old" != none ]; then
        keep_old 2>/dev/null || refuse disk 'the old certificate can not be saved'
        set -- "$kept/certificate"
    fi
    if [ "$swap" = yes ] && [ "$new" != none ]; then
        if [ -n "$saved" ]; then
            origin=''
            in_each find_saved
            [ -f "$origin" ] || refuse drift "the backup of run $saved is not there"
        fi
        # This folder is ours now.
        for left in ./.aoifleet-*; do
            if [ -e "$left" ] || [ -L "$left" ]; then sweep; fi
            break
        done
        new_file 2>/dev/null || { still_old; refuse disk "no file can be written in ${real%/*}"; }
        # Where others can write the folder, what is live after the swap is looked at.
        if [ -n "$guarded" ]; then set -- "$@" "$origin"; else set -- "$@" "$tmp"; fi
    fi
    digests "$@"
    right_digests
    if [ "$sums" != "$right" ]; then
        still_old
        refuse disk 'the backup is not what was saved'
    fi
    if [ "$deadman" = yes ]; then
        prepare_deadman
        set -- "$@" "$kept/host.sh" "$guard" "$units"
        for target in $wanted; do set -- "$@" "$units/$target.wants"; done
    fi
    flush "$@" "$kept/receipt" "$kept" "$state/backups" "$state" 2>/dev/null || refuse disk 'the backup can not be written to disk'
}

# still_old refuses where another run has ended since the file was looked at: what was
# staged for this one is gone with it.
still_old() {
    look_in_place && digest_of_live
    [ "$live" = "$old" ] || seen_otherwise
}

find_saved() { [ ! -f "$state/backups/$saved/certificate" ] || origin=$state/backups/$saved/certificate; }

# take: link(2) fails where the name is taken: whole and exclusive in one step.
# Where ln fails all the same, a second name of the receipt is ours.
take() {
    said=$(ln -T -- "$kept/receipt" "$state/pending" 2>&1) && mine=yes
    [ -n "$mine" ] || [ "$(stat -c %h -- "$kept/receipt")" = 1 ] || mine=yes
    [ -n "$mine" ] || [ ! -f "$state/pending" ] || refuse locked "$(whose "$state/pending")"
    [ -n "$mine" ] || refuse disk "the receipt can not be made: ${said##*: }"
    # Since this run looked, an undo may have taken the other name, or another unit its own.
    nobody_else
}

digests() {
    sums=''
    [ $# -gt 0 ] || return 0
    IFS=$NL
    for line in $(sha256sum -- "$@"); do
        line=${line#\\}
        sums=$sums${line%% *}$NL
    done
    unset IFS
}

right_digests() {
    right=''
    [ "$old" = none ] || right=$old$NL
    [ "$swap" = no ] || [ "$new" = none ] || right=$right$new$NL
}

# receipt: what an undo has to know, also one by another process, later. What others
# ask of it goes first (of_receipt), and its run in the first line (ended).
receipt() {
    for key in run owner old new boot about unit log path real folder thumbprint window timeout port swap start hold deadman was invocation sick; do
        eval "say $key \"\$$key\""
    done
    set -f
    IFS=$NL
    for line in $deny; do say deny "$line"; done
    for line in $before; do say before "$line"; done
    unset IFS
    set +f
    printf 'end\n'
}

# swap: rename(2) is the moment of change. Not where a switch that was due has
# undone already; the lock keeps it from doing so just now.
swap() {
    if [ "$new" = none ]; then
        said=$(rm -f -- "./$leaf" 2>&1)
    else
        said=$(put_in_place 2>&1) && tmp=''
    fi && { swapped; return; }
    exec 6>&-
    look_in_place && digest_of_live
    [ "$live" = "$old" ] || undo command "the file can not be replaced: ${said##*: }"
    refuse command "the file can not be replaced: ${said##*: }"
}

# swapped: in a folder that others can write, another file can have taken the place
# of the new one before it was moved.
swapped() {
    ours=$new file_known=''
    [ -n "$guarded" ] && [ "$new" != none ] || return 0
    landed "$origin" "$new" || { exec 6>&-; astray=yes; undo drift "another file was put in the place of the new $path"; }
    file_known=$file_state
}

# confirm: the rename decides; whoever has undone meanwhile has won, and the
# receipt may be another run's by now.
confirm() {
    { lock 5 && ended pending; } || { exec 6>&-; undo timeout 'the time to confirm was up'; }
    said=$(mv -T -- "$state/pending" "$state/confirmed" 2>&1) || ended confirmed ||
        undo command "the receipt can not be confirmed: ${said##*: }"
    exec 7>&-
    sync -- "$state" .
    # Before a word is said: who does not listen must not hold the lock.
    exec 6>&-
    say result rotated
    # What other runs have staged was meant for the file that is gone now, too.
    disarm "$state"/staged-* "$state/undo.log"
    deadman=no
    in_each prune_backups
    exit 0
}

# ended STATE: is that this run's state? A receipt begins with its run.
ended() {
    first=''
    { IFS= read -r first <"$state/$1"; } 2>/dev/null
    [ "$first" = "run=$run" ]
}

# goes_on: has the run in $kept not ended? In the order in which the names change.
goes_on() { ended pending || ended undoing || alive "$kept"; }

# forget removes the folder of a run that has left nothing to go back to. What
# makes it a backup goes first; where the switch can't be taken away it has to
# stay, and the next tick tries again.
forget() {
    if armed_once; then
        rm -f -- "$kept/receipt" "$kept/certificate" && disarm || return
    fi
    rm -rf -- "$kept/receipt" "$kept/certificate" "$kept"
}

# prune_backups: backups hold private keys; the newest $keep stay, for at most $max_age
# days (their names begin with their day), and always the one of a transaction
# that has not ended.
prune_backups() {
    # The day of a run is in its name, of the one at work too.
    this=$run today=${run%"${run#????????}"} oldest=''
    set -- "$state"/backups/*/receipt
    for receipt; do
        kept=${receipt%/*} run=${receipt%/receipt} run=${run##*/}
        day=${run%"${run#????????}"}
        case $day in *[!0-9]* | '') day=$today ;; esac
        if [ $# -gt "$keep" ] || too_old; then
            shift
            goes_on || forget
        fi
    done
    run=$this
}

# too_old: what is of today is not, whatever that is.
too_old() {
    [ "$max_age" = 0 ] || [ "$day" != "$today" ] || return
    [ -n "$oldest" ] || oldest=$(date -u -d "-$max_age days" +%Y%m%d) || oldest=0
    [ "$day" -lt "$oldest" ]
}

# prune removes backups and changes nothing else.
prune() {
    own_folder
    count=0
    in_each count_backups
    were=$count count=0
    [ "$were" = 0 ] || in_each prune_backups
    in_each count_backups
    say removed "$((were - count))"
    say result pruned
}

count_backups() {
    set -- "$state"/backups/*/receipt
    [ ! -e "$1" ] || count=$((count + $#))
}
