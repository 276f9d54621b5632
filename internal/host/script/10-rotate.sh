
# --- rotate: back up, arm, swap, restart, watch, confirm; or undo ---

rotate() {
    begin_transaction
    say step backup
    back_up
    if [ "$deadman" = yes ]; then
        say step arm
        arm
    fi
    log_mark
    if [ "$swap" = no ] && [ "$files" = 1 ]; then :; else say step swap; fi
    # The lock is held until the restart, so that no undo runs at the same time.
    { lock 5 && has_state pending; } || { exec 6>&-; undo timeout 'the time to confirm was over before the swap'; }
    [ -z "$package" ] || hold_agent
    swap
    [ -z "$package" ] || install_new
    if [ "$start" = yes ]; then
        say step restart
        extend
        restart_unit || { exec 6>&-; undo_unhealthy "$why"; }
        exec 6>&-
        say step watch
        watch "$invocation" 0 || undo_unhealthy "$why"
        send_evidence
        say proof "$proof"
    else
        exec 6>&-
    fi
    extend
    say verdict healthy
    wait_answer || { answer='undo contact with the operator was lost' diagnostics=0; }
    [ "$answer" = "confirm $run" ] || undo_unhealthy "${answer#undo }"
    stat_all
    same_files || undo_unhealthy "$why"
    [ -z "$package" ] || is_still_new || undo_unhealthy "$why"
    confirm
}

# begin_transaction refuses if another transaction is in progress, or the host is not as
# it was seen.
begin_transaction() {
    # With the helper, the caller may have sent another value.
    rehearsal=no
    say step lock
    use_own_name
    make_state || refuse disk "cannot create $state, or root does not own it"
    check_locks
    say step check
    check
}

# same_files reports whether the certificate and the configuration are still those of
# this run. It compares where their paths lead and their inodes; if an inode has changed,
# the bytes. A missing file has no inode.
same_files() {
    class=drift
    each_file same_file && same_config_too || return 1
    class=''
}

# same_file is same_files for the current file, with the facts of stat_all.
same_file() {
    [ "$files" = 1 ] || { kind=missing file_state='' && read_facts "$ROOT$real"; }
    if ! leads_to "$path" "$real"; then why="$path has led to another file since the rotation started"; not_undone; return; fi
    if [ -z "$file_state" ] || [ "$file_state" != "$file_known" ]; then
        digest_of_live
        case $kind:$live in
        "file:$ours" | "missing:$ours") file_known=$file_state ;;
        *) why="$path was changed during the rotation, not by this run"; not_undone; return ;;
        esac
    fi
}

same_config_too() { same_config || { why="$config was changed during the rotation"; return 1; }; }

# leads_to PATH FILE reports whether PATH resolves to FILE. It does not resolve FILE: a
# new link under that name shows in its facts. The subshell keeps the results of the
# certificate's walk.
leads_to() {
    [ "$1" != "$2" ] || return 0
    (walk "$1" && [ "$walked" = "$2" ])
}

# not_undone fails; if the dead-man switch has undone the run, it sets that reason.
not_undone() {
    [ -n "$claimed" ] || has_state pending || { class=timeout why='the time to confirm was over'; }
    return 1
}

# same_config reports whether the configuration is the one that the workstation has read.
same_config() {
    [ -n "$configured" ] || return 0
    leads_to "$config" "$config_real" || return
    if [ -n "$settings" ] && [ "$config_state" = "$settings" ]; then return 0; fi
    read_config
    digest_of_config
    [ "$sum" = "$configured" ] || return 1
    settings=$config_state
}

# wait_answer reads the operator's answer. It fails at the end of input, which means that
# the operator is gone; without a dead-man switch also after $hold seconds.
wait_answer() {
    if [ "$deadman" = yes ]; then
        IFS= read -r answer <&3
    else
        answer=$(timeout "$hold" head -n 1 <&3 6>&- 7>&-)
        [ -n "$answer" ]
    fi
}

# check_locks refuses if another transaction has not ended: its receipt is the lock for
# the unit and for the certificate.
check_locks() {
    for receipt in "$ROOT"/var/lib/aoifleet/*/pending "$ROOT"/var/lib/aoifleet/*/undoing; do
        [ ! -f "$receipt" ] || ! conflicts "$receipt" || refuse locked "$(lock_holder "$receipt")"
    done
}

# conflicts RECEIPT reports whether it belongs to this unit, under any of its names, or to
# a unit with the same certificate. The file may have two paths (mount(8), --bind).
conflicts() {
    other=${1%/*}
    case " $aliases $unit " in *" ${other##*/} "*) [ "$1" != "$state/pending" ] || ! has_state pending; return ;; esac
    { same_certificate <"$1"; } 2>/dev/null
}

same_certificate() {
    while IFS= read -r line; do
        case $line in
        real=*) each_file is_other "${line#*=}" || return 0 ;;
        deny=* | before=* | end) return 1 ;;
        esac
    done
    return 1
}

# is_other FILE reports whether it is another file than the current one.
is_other() {
    # shellcheck disable=SC3013 # dash, bash and busybox have it
    [ "$1" != "$real" ] && ! [ "$ROOT$1" -ef "$ROOT$real" ]
}

# lock_holder RECEIPT prints a message: which run holds the host, and until when.
lock_holder() {
    its_run='' its_owner='' left='' state=${1%/*} scope=''
    case " $aliases " in
    *" ${state##*/} "*) scope=" for ${state##*/} (the same unit)" ;;
    *) [ "${state##*/}" = "$unit" ] || scope=" for ${state##*/} (the same certificate)" ;;
    esac
    [ ! -f "$1" ] || read_receipt "$1" 2>/dev/null
    its_owner="${its_run:+run $its_run}${its_owner:+ of $its_owner}"
    if [ -n "$its_run" ] && alive "$state/backups/$its_run"; then
        seconds_left "$state/backups/$its_run"
        printf '%s' "$its_owner is in progress on this host$scope${left:+, for at most ${left}s more}"
    elif [ ! -f "$1" ]; then
        printf '%s' "${its_owner:-another run} has just ended on this host$scope; try again"
    else
        printf '%s' "${its_owner:-a run} was interrupted on this host$scope; run recover"
    fi
}

# alive FOLDER reports whether the process that created its receipt still runs. The test
# takes a shared lock, so that two tests at once don't see each other.
alive() { [ -f "$1/receipt" ] && ! { flock -s -n 0 <"$1/receipt"; } 2>/dev/null; }

check() {
    [ -z "$expect" ] || patterns_work
    stays=yes
    find_log
    [ -z "$log_unsafe" ] || refuse configuration "the log $log is a link, and non-root users can write the folder $log_unsafe"
    find_config || refuse configuration "$config is a link, and non-root users can write the folder $unsafe"
    total=0 taken=$NL
    each_file check_file
    [ -z "$package" ] || check_package
    [ "$type:$start" != oneshot:yes ] || refuse configuration "$unit is Type=oneshot: whether the agent runs is unknown"
    [ "$load" = loaded ] || refuse agent_not_running "$unit is ${load:-not known to systemd}"
    [ "$start" = no ] || [ "$active" != inactive ] || refuse agent_not_running "$unit was stopped meanwhile"
    was=$active invocation=$id
    if [ -z "$log_state" ] || [ "$no_denied" != "$log_state$NL$deny" ]; then log_before; fi
    sick=no
    ! was_unhealthy || sick=yes
    [ "$start" = yes ] || sick=no
}

# check_file checks the current file, and enters its folder. back_up compares the digest,
# on its copy of the file.
check_file() {
    planned=$real
    stat_path
    case $kind in
    nodir) refuse configuration "the folder of $path does not exist" ;;
    other) refuse configuration "$path is not a regular file" ;;
    moved) refuse drift "the folder of $path was replaced while it was checked" ;;
    esac
    [ "$real" = "$planned" ] || refuse drift "$path leads to $real now, not to $planned"
    [ -z "$folder" ] || [ "$here" = "$folder" ] || refuse drift "the folder of $path was replaced since it was checked"
    case $kind:$old in missing:none | file:[!n]*) ;; *) file_changed ;; esac
    [ "${size_of_file:-0}" -le "$most" ] || refuse configuration "$path is larger than 1 MiB"
    # The digest of a file of the change is checked itself.
    [ "$real" != "$config_real" ] || configured=''
    same_config || refuse drift "$config has changed since it was checked"
    folder=$here ours=$old file_known=$file_state
    safe_path || [ -z "$untrusted" ] || refuse configuration "$untrusted"
    [ -z "$unsafe" ] || refuse configuration "users other than root and the file's owner can write the folder $unsafe"
    case $real in /var/lib/aoifleet/*) refuse configuration "$path is a file of aoifleet itself" ;; esac
    [ "$files" = 1 ] || only_once
}

file_changed() { refuse drift "$path has changed since it was checked"; }

# swap puts the new files in place, in their order. The caller has checked that the
# dead-man switch has not undone the run, and holds the lock.
swap() {
    swapped=''
    each_file swap_file
}

# swap_file puts the new file in place; rename(2) is the moment of change.
swap_file() {
    [ "$swap" = yes ] || return 0
    said="the folder of $path was replaced"
    in_folder && if [ "$new" = none ]; then
        said=$(rm -f -- "./$leaf" 2>&1)
    else
        said=$(put_in_place 2>&1) && tmp=''
    fi && { check_swap; return; }
    exec 6>&-
    stat_here && digest_of_live
    [ "$live$swapped" = "$old" ] || undo command "cannot replace the file: ${said##*: }"
    refuse command "cannot replace the file: ${said##*: }"
}

# check_swap undoes the run if the live file is not the new one: in a folder that others
# can write, it may have been replaced before the rename.
check_swap() {
    ours=$new file_known='' swapped=yes
    if [ -n "$guarded" ] && [ "$new" != none ]; then
        in_place "$origin" "$new" || { exec 6>&-; intruder=yes; undo drift "another file has replaced the new $path"; }
        file_known=$file_state
    fi
    [ "$files" = 1 ] || rm -f -- "$kept/new.$nth"
}

# confirm ends the run; the rename decides. If an undo was first, the receipt may already
# be another run's.
confirm() {
    # The certificate may be on another file system than the receipt.
    each_file sync_folder || undo disk "cannot sync the folder of $path: ${said##*: }"
    { lock 5 && has_state pending; } || { exec 6>&-; undo timeout 'the time to confirm was over'; }
    said=$(mv -T -- "$state/pending" "$state/confirmed" 2>&1) || has_state confirmed ||
        undo command "cannot confirm the receipt: ${said##*: }"
    exec 7>&-
    sync -- "$state"
    # Before any output: a reader that does not read must not block the lock.
    exec 6>&-
    say result rotated
    # Files staged by other runs were for the file that is gone now.
    disarm "$state"/staged-* "$state/undo.log"
    deadman=no
    in_each prune_backups
    in_each clean_interrupted
    exit 0
}

sync_folder() {
    said='it was replaced'
    in_folder && said=$(sync -- . 2>&1)
}

# has_state STATE reports whether this run is in that state. A receipt starts with its run.
has_state() {
    first=''
    { IFS= read -r first <"$state/$1"; } 2>/dev/null
    [ "$first" = "run=$run" ]
}

# unfinished reports whether the run in $kept has not ended. If it has, this process keeps
# the lock on its receipt, so that a run that is just starting does not get it; the caller
# closes it (5). The order of the checks is the order of the renames.
unfinished() {
    if [ -f "$kept/receipt" ]; then { command exec 5<"$kept/receipt" && flock -n 5; } 2>/dev/null || return 0; fi
    has_state pending || has_state undoing
}

# remove_run removes the folder of a run that has nothing to restore. The files that make
# it a backup are first; if the dead-man switch can't be removed, the folder stays, and
# the next tick retries.
remove_run() {
    if has_switch; then
        rm -f -- "$kept/receipt" "$kept"/certificate* && disarm || return
    fi
    rm -rf -- "$kept/receipt" "$kept"/certificate* "$state/staged-$run" "$kept"
}

# prune_backups removes backups, because they contain private keys. The newest $keep stay,
# for at most $max_age days (their names start with their day), and always the backup of
# a transaction that has not ended.
prune_backups() {
    # The day of a run is in its name, also this run's.
    this=$run today=${run%"${run#????????}"} oldest=''
    set -- "$state"/backups/*/receipt
    for receipt; do
        kept=${receipt%/*} run=${receipt%/receipt} run=${run##*/}
        day=${run%"${run#????????}"}
        case $day in *[!0-9]* | '') day=$today ;; esac
        if [ $# -gt "$keep" ] || too_old; then
            shift
            unfinished || remove_run
        fi
    done
    exec 5<&-
    run=$this
}

# too_old reports whether the backup's $day is too old; today never is.
too_old() {
    [ "$max_age" = 0 ] || [ "$day" != "$today" ] || return
    [ -n "$oldest" ] || oldest=$(date -u -d "-$max_age days" +%Y%m%d) || oldest=0
    [ "$day" -lt "$oldest" ]
}

# prune removes backups and changes nothing else.
prune() {
    use_own_folder
    count=0
    in_each count_backups
    before_prune=$count count=0
    [ "$before_prune" = 0 ] || in_each prune_backups
    in_each count_backups
    say removed "$((before_prune - count))"
    say result pruned
}

count_backups() {
    set -- "$state"/backups/*/receipt
    [ ! -e "$1" ] || count=$((count + $#))
}
