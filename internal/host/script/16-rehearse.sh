
# --- rehearse: the transaction with a copy of the certificate, and no restart ---
#
# The live file is only read: a rename would make it newer than the agent's process, and
# the next run would restart the agent. The rehearsal works on a copy with another name
# in the same folder. The guard undoes it once, as after a boot, and then the timer.

# rehearse leaves nothing behind, not even a folder that was not there.
rehearse() {
    use_own_name
    set --
    for target in $wanted; do
        links=$ROOT/etc/systemd/system/$target.wants
        [ -d "$links" ] || set -- "$@" "$links"
    done
    (try_rehearsal)
    status=$?
    ! has_state rehearsed || rm -f -- "$state/rehearsed"
    rm -f -- "$state/staged-$run" "$state/rehearsal-$run.log"
    rmdir -- "$@" "$state/backups" "$state" "${state%/*}" 2>/dev/null
    case $status in
    9) say result rehearsed ;;
    0) ;;
    *) exit "$status" ;;
    esac
}

# try_rehearsal exits with 9 if the rehearsal succeeds; otherwise it has said why not.
try_rehearsal() {
    begin_transaction
    [ -n "$wanted" ] || refuse configuration "cannot arm the dead-man switch: no boot guard, no target wants $unit"
    each_file replaceable
    log_writer
    # An undo of this run must not restart the agent.
    rehearsal=yes start=no sick=no deadman=yes hold=5
    [ "$files" -gt 1 ] || swap=yes saved=''
    say step backup
    back_up
    say step arm
    arm
    # Until the guard has acted, the timer finds its time not over.
    hold=120 && extend
    each_file keep_name
    rehearsal_file
    say step swap
    { lock 5 && has_state pending; } || too_late
    each_file copy_of_file
    rehearse_swap
    say step guard
    rehearse_guard
    say step timer
    rehearse_timer
    exit 9
}

keep_name() { live_leaf=$leaf; }

copy_of_file() {
    at_copy
    why=$(put_back 2>&1) || give_up "cannot write a file in ${real%/*}: ${why##*: }"
}

# at_copy reads the facts of the copy. If the path leads to another folder, it gives up:
# root must not use a name there.
at_copy() {
    enter_folder
    same_folder || give_up "the folder of $path was replaced"
}

# rehearse_swap replaces the copy and compares the attributes. It releases the lock.
rehearse_swap() {
    swap
    each_file new_like_live
    extend
    exec 6>&-
}

# new_like_live is like_live for the new file, if there is one, and nothing else gives it its
# attributes.
new_like_live() {
    case $new:$saved$new_owner$new_mode in none:* | *:?*) ;; *) like_live 'the new file' ;; esac
}

# like_live FILE gives up if the copy, which is called FILE, differs from the live file.
like_live() {
    in_folder || give_up "the folder of $path was replaced"
    compare_with_live
    [ -z "$differs" ] || give_up "$1 would not be like the old one: $differs"
}

# rehearse_guard starts the guard, which sees $kept/boot and acts as after a boot.
rehearse_guard() {
    printf '' >"$kept/boot"
    said=$(timeout 100 systemctl start "${guard##*/}" 2>&1 7>&-)
    # systemd stops a start that takes longer; a failed unit would stay in its list.
    systemctl reset-failed "${guard##*/}" 2>/dev/null
    { lock 15 && ! has_state rehearsed; } || too_late
    { has_state undoing && [ ! -e "$guard" ]; } ||
        give_up "the boot guard did not act when systemd started it: ${said:-see journalctl -u ${guard##*/}}"
    each_file restored_copy
}

restored_copy() {
    at_copy
    digest_of_live
    [ "$live" = "$old" ] || give_up 'the boot guard did not restore the old file'
    like_live 'the restored file'
}

# give_up releases the lock and ends the rehearsal as refused.
give_up() {
    exec 6>&-
    undo configuration "$1"
}

# too_late ends the rehearsal as refused, because another process was quicker.
too_late() {
    exec 6>&-
    undo timeout 'the host is slow: the time was over before the boot guard and the timer were tried; try again'
}

# rehearse_timer puts the new file in place again, ends the time to confirm, and waits
# until the timer has undone the run.
rehearse_timer() {
    offset=0
    { mv -T -- "$state/undoing" "$state/pending" && each_file new_copy; } 2>/dev/null || give_up "cannot write a file in ${real%/*}"
    swap
    hold=0 && extend
    exec 6>&-
    now_up
    wait_until=$((up + 6000))
    while ! has_state rehearsed || [ -e "$kept" ]; do
        now_up
        [ "$up" -lt "$wait_until" ] || undo configuration "the dead-man switch's timer did not act: see journalctl -u $timer.service"
        sleep 0.25 7>&-
    done
    ! grep -aqx 'result=rehearsed' "$state/rehearsal-$run.log" 2>/dev/null || return 0
    said=$(grep -a '^undo_error=' "$state/rehearsal-$run.log" 2>/dev/null)
    said=${said#undo_error=}
    say error "configuration the timer has not restored the old file: ${said:-another process has undone the run}"
    say result refused
    exit 0
}

new_copy() { [ "$swap" = no ] || [ "$new" = none ] || { in_folder && new_file; }; }

# replaceable refuses a live file that rename(2) can't replace, for reasons that the copy
# does not show: it is a mount point (EBUSY), or immutable (EPERM, chattr(1)).
replaceable() {
    in_folder || folder_replaced
    [ "$kind" = file ] || return 0
    # With the escapes of proc_pid_mountinfo(5). stat(1) misses a mount of the same device.
    escaped=$(printf '%s' "$real" | sed 's/\\/\\134/g; s/ /\\040/g')
    ! cut -d ' ' -f 5 -- "$ROOT/proc/self/mountinfo" 2>/dev/null | grep -qxF -e "$escaped" || refuse configuration "$path is a mount point, and can't be replaced"
    marks=$(as_owner lsattr -d -- "./$leaf" 2>/dev/null)
    case ${marks%% *} in *[ai]*) refuse configuration "$path has the attribute ${marks%% *} (chattr(1)), and can't be replaced" ;; esac
}

# as_owner runs a command that follows a link which appears under the name in its last
# moment: where others can write the folder, with the rights of the file's owner.
as_owner() { within=5 && without_rights "${guarded:+$holder}" "$(id -g -- "$holder_name" 2>/dev/null)" "$@"; }

# compare_with_live sets $differs to the first attribute in which the copy differs from
# the live file: owner, mode, SELinux label or ACL. Users who can write the folder can
# make them differ.
compare_with_live() {
    differs=''
    [ "$old" != none ] || return 0
    for format in owner=%u:%g mode=%a label=%C acl=; do
        copy_has=$(attribute "$format" "./$leaf") live_has=$(attribute "$format" "./$live_leaf")
        [ "$copy_has" = "$live_has" ] || { differs="its ${format%%=*} is $copy_has, not $live_has"; return; }
    done
}

# attribute FORMAT NAME prints one attribute. ls(1) marks a file that has an ACL.
attribute() {
    # shellcheck disable=SC2012 # of one name
    case $1 in
    acl=)
        if command -v getfacl >/dev/null; then as_owner getfacl -cnP -- "$2" 2>/dev/null; else as_owner ls -ld -- "$2" | cut -c 11; fi | tr '\n' ' '
        ;;
    *) stat -c "${1#*=}" -- "$2" 2>/dev/null ;;
    esac
}

# log_writer reports how the agent writes its log: whether a process of the unit has it
# open, and whether with O_APPEND (02000 in octal; proc_pid_fdinfo(5)). systemd 239 opens
# StandardOutput=file: without.
log_writer() {
    [ "$log_kind" = file ] || { say note "the log $log does not exist: the health check sees only the process"; return; }
    cgroup=$(systemctl show -p ControlGroup "$unit" 2>/dev/null)
    cgroup=$ROOT/sys/fs/cgroup/${cgroup#ControlGroup=} writers=$pid
    # Version 2, or systemd's own hierarchy of version 1.
    case $cgroup in */cgroup/) ;; *) writers="$pid $(head -qn 64 "$cgroup/cgroup.procs" "${cgroup%%/cgroup/*}/cgroup/systemd/${cgroup#*/cgroup/}/cgroup.procs" 2>/dev/null)" ;; esac
    set --
    for writer in $writers; do set -- "$@" "$ROOT/proc/$writer/fd/"; done
    # With -printf find(1) reads only the facts of what a descriptor leads to.
    opened=$(timeout -k 2 5 find -L "$@" -maxdepth 1 -printf '%D:%i %p\n' 2>/dev/null | grep -m 1 "^$log_inode ")
    opened=${opened#* } flags=''
    [ -z "$opened" ] || flags=$(sed -n 's/^flags:[^0-9]*//p' "${opened%/fd/*}/fdinfo/${opened##*/}" 2>/dev/null)
    case $opened:$flags in
    :*) say note "no process of $unit has $log open: check agent.log, or how the agent writes it" ;;
    *[2367]???) say note "the agent appends to its log" ;;
    *) say note "the agent writes its log without O_APPEND: each start may overwrite it from the beginning, which the health check allows for" ;;
    esac
}
