
# --- files, also in folders that others can write ---
#
# The folders of the certificate, the log and the configuration may belong to the
# agent's user, who can replace any name in them at any moment. So root does not open,
# create or remove anything there by its path. It enters the folder, checks that this is
# the folder of the path, and uses single names: dd(1) opens with O_NOFOLLOW and
# O_NONBLOCK, cp(1) creates with O_EXCL and sets owner and mode through the descriptor,
# ln(1) and rm(1) act on the name itself. Only stat(2) may use paths.

# enter FOLDER changes to it; its path has no link, and $PWD shows one created since.
# dash and busybox get $PWD from getcwd(3) after the change; bash computes it from the
# path before. With the kernel's link to the current folder all of them enter the same
# folder again, by its true path.
enter() {
    cd -P -- "$1/" 2>/dev/null && cd -P /proc/self/cwd 2>/dev/null &&
        case $PWD:$1 in "$1:$1" | /: | //:) ;; *) return 1 ;; esac
}

# contents FOLDER NAME [SKIP COUNT] prints bytes of a file, by default at most 1 MiB and
# one byte. It fails for a link, and prints nothing for a FIFO, without waiting. It
# replaces the calling shell, which is part of a pipe or of $( ).
contents() {
    enter "$1" && exec dd if="./$2" bs=65536 skip="${3:-0}" count="${4:-1048577}" \
        iflag=nofollow,nonblock,fullblock,skip_bytes,count_bytes status=none 2>/dev/null
}

# walk PATH resolves the links in it (path_resolution(7)). It sets $walked to the
# result, $folders to every folder in which a name is looked up, and $via to those up to
# the last link to another folder. It returns 1 if a folder is missing, 2 if the links
# form a loop or the path is too long to check.
walk() {
    folders='' via='' walked='' rest=$1 hops=0
    while [ -n "$rest" ]; do
        part=${rest%%/*}
        case $rest in */*) rest=${rest#*/} ;; *) rest='' ;; esac
        case $part in
        '' | .) continue ;;
        ..) walked=${walked%/*}; continue ;;
        esac
        [ -d "$ROOT$walked/" ] || return 1
        folders=$folders$ROOT$walked/$NL
        [ "${#folders}" -le 65536 ] || return 2
        walked=$walked/$part
        [ -L "$ROOT$walked" ] || continue
        target=$(readlink -- "$ROOT$walked")
        hops=$((hops + 1))
        case $hops:$target in 41:* | *"$NL"*) return 2 ;; esac
        [ "${#rest}" -le 8192 ] || return 2
        case $target in
        /*) walked='' target=${target#"$ROOT"} ;;
        *) walked=${walked%/*} ;;
        esac
        case $target in */* | . | ..) via=$folders ;; esac
        rest=$target${rest:+/$rest}
    done
}

# root_only FOLDERS reports whether only root can write them. Otherwise $unsafe is the
# first that others can write; up to there only root can replace a folder.
root_only() {
    unsafe=${1%%"$NL"*} me=$(id -u)
    set -f
    IFS=$NL
    # shellcheck disable=SC2086 # one folder a line
    checked=$(stat -c '%u:%a:%n' -- $1 2>/dev/null) && unsafe=''
    for line in $checked; do
        mode=${line#*:} mode=${mode%%:*}
        case ${line%%:*}:$mode in
        "$me":*[2367] | "$me":*[2367]?) ;;
        "$me":*) continue ;;
        esac
        unsafe=${line#*:*:} unsafe=${unsafe#"$ROOT"}
        break
    done
    unset IFS
    set +f
    [ -z "$unsafe" ]
}

# links_safe reports whether root may follow the links of the last walk. A link in a
# folder that others can write may lead root to a file that they can't read, or that
# does not exist yet.
links_safe() { [ -z "$via" ] || root_only "$via"; }

form='%u:%U:%G:%a:%s:%.Z:%d:%i:%.Y:%F:%n'

# stat_path resolves $path and reads the facts of the file; it returns 1 if it is neither
# a file nor missing. With $stays the script stays in the file's folder.
stat_path() {
    walk "$path" || { reset_facts && real='' here='' kind=nodir; return 1; }
    real=$walked
    stat_here
}

# stat_here [FILE] reads the facts of the file $real, whose folders are $folders, without
# following a link. One stat(1) covers the file, the folders of its path, the log and the
# configuration, which are needed soon, and FILE, which is root's own: its owner and mode
# go to $expected.
stat_here() {
    reset_facts
    expected='' root_file=${1:-}
    here='' guarded='' config_open='' place=$ROOT${real%/*} leaf=${real##*/}
    [ -z "$stays" ] || enter "$place" || { kind=moved; return 1; }
    set -f
    IFS=$NL
    # shellcheck disable=SC2086 # one folder a line
    facts=$({ [ -n "$stays" ] || enter "$place"; } && stat -c "$form" -- . "./$leaf" ${log_real:+"$ROOT$log_real"} ${config_real:+"$ROOT$config_real"} $config_folders ${root_file:+"$root_file"} $folders 2>/dev/null)
    unset IFS
    set +f
    read_facts "./$leaf" "$root_file"
    [ "$seen_config" = "$config_folders" ] || config_open=yes
    case $seen_folders:$here in "$folders":*:"$there") ;; *) here='' kind=moved ;; esac
    case $kind in file | missing) ;; *) return 1 ;; esac
}

# stat_all reads the facts of the files of the change, the log and the configuration again, with
# one stat(1) and their paths.
stat_all() {
    reset_facts
    all_files
    set -f
    IFS=$NL
    # shellcheck disable=SC2086 # one file a line
    facts=$(stat -c "$form" -- $reals ${log_real:+"$ROOT$log_real"} ${config_real:+"$ROOT$config_real"} 2>/dev/null)
    unset IFS
    set +f
    read_facts "$ROOT$real"
}

reset_facts() {
    now_up
    stat_up=$up
    kind=missing holder='' holder_name='' live=none attributes='' size_of_file='' file_state='' facts=''
    log_kind=missing log_state='' log_size='' log_inode='' config_state=''
}

# read_facts FILE [OTHER] parses $facts; FILE is the certificate's name in it. The time is
# that of the last change of the inode (%Z): unlike the time of the last write it can't be
# set. It sets $guarded if non-root users can write a folder of the path, $config_open if
# they can write the configuration or a folder of its path. A folder without facts (FUSE
# hides it from root) is not root's own.
read_facts() {
    cert_name=$1 root_file=${2:-/} there='' seen_folders='' seen_config=''
    set -f
    IFS=$NL
    for line in $facts; do
        # Not from a here-document, which the shell reads byte by byte.
        IFS=:
        # shellcheck disable=SC2086
        set -- $line
        f_uid=$1 f_owner=$1:$2:$3 f_mode=$4 f_size=$5 f_changed=$6 f_inode=$7:$8 f_written=$9 f_type=${10}
        shift 10
        f_name=$*
        case $f_name in
        .) here=$f_uid:$f_inode ;;
        */.)
            seen_config=$seen_config$f_name$NL
            ! others_write "$f_uid" "$f_mode" || config_open=yes
            ;;
        */)
            seen_folders=$seen_folders$f_name$NL
            ! others_write "$f_uid" "$f_mode" || guarded=yes
            [ "$f_name" != "$place/" ] || there=$f_inode
            ;;
        "$cert_name")
            kind=$f_type holder=$f_uid holder_name=${f_owner#*:} holder_name=${holder_name%:*} size_of_file=$f_size
            attributes=$f_owner:$f_mode:$f_size:$f_changed file_state=$f_inode:$f_size:$f_changed
            ;;
        "$root_file") expected=$f_owner:$f_mode ;;
        "$ROOT$log_real") log_kind=$f_type log_size=$f_size log_inode=$f_inode log_state="$f_size $f_written $f_inode" ;;
        "$ROOT$config_real")
            config_state=$f_inode:$f_size:$f_changed
            ! others_write "$f_uid" "$f_mode" || config_open=yes
            ;;
        esac
    done
    unset IFS
    set +f
    case $kind in regular*) kind='file' ;; missing) ;; *) kind=other ;; esac
    case $log_kind in regular*) log_kind='file' ;; missing) ;; *) log_kind=other log_size='' log_state='' ;; esac
}

# others_write UID MODE reports whether non-root users can write such a file.
others_write() { case $1:$2 in 0:*[2367] | 0:*[2367]? | [!0]*) ;; *) return 1 ;; esac; }

# digest_of_live sets $live to the digest of the certificate file, "large" or "none". In
# root's own folder the file can't be replaced, but it may grow without end while it is
# read.
digest_of_live() {
    live=none
    [ "$kind" = file ] || return 0
    if [ "$size_of_file" -gt "$most" ]; then
        live=large
    elif [ -n "$guarded" ]; then
        live=$(contents "$place" "$leaf" | sha256sum)
    else
        # shellcheck disable=SC3045 # dash, bash and busybox have it
        live=$(ulimit -t 5 && exec sha256sum <"$ROOT$real")
    fi
    live=${live%% *}
}
most=1048576 # bytes of a certificate file

# safe_path fails if users other than root and the file's owner can write a folder of the
# path ($unsafe): they could put any file there. A group with the owner's name counts as
# the owner. If there is no file yet, only root's links are allowed: the owner could
# have the file created anywhere. It uses the facts of stat_path.
safe_path() {
    unsafe='' untrusted=''
    if [ -z "$holder" ]; then
        holder_name=${user:-root}
        holder=$(id -u -- "$holder_name" 2>/dev/null)
    fi
    [ -n "$facts" ] || unsafe=$path
    set -f
    IFS=$NL
    for line in $facts; do
        dir=/${line#*:/} dir=${dir#"$ROOT"}
        case $dir in */) ;; *) continue ;; esac
        IFS=:
        # shellcheck disable=SC2086
        set -- $line
        case $1 in 0 | "$holder") ;; *) unsafe=$dir ;; esac
        case $4 in
        *[2367]) unsafe=$dir ;;
        *[2367]?) case $3 in root | "$holder_name") ;; *) unsafe=$dir ;; esac ;;
        esac
    done
    unset IFS
    set +f
    [ -n "$unsafe" ] || [ "$kind" = file ] || links_safe
    [ -z "$unsafe" ] && named_by_root
}

# named_by_root reports whether root may trust the path. A path from a configuration that
# non-root users can write may only lead to a file of the agent's user, unless the
# inventory names it.
named_by_root() {
    untrusted=''
    [ -n "$config_open" ] && [ "$by_inventory" != yes ] || return 0
    holder=$(id -u -- "${user:-root}" 2>/dev/null)
    case $holder:$kind:$attributes:$here in
    0:*) ;;
    "$holder:file:$holder:"* | "$holder:missing::$holder:"*) return 0 ;;
    esac
    untrusted="non-root users can write $config, and the agent's user does not own the file that it names"
    return 1
}

# keep_old saves the live file: bytes, owner, mode and label; its times only if others
# can't write the folder, because otherwise the bytes are copied afterwards.
keep_old() {
    if [ -z "$guarded" ]; then
        # At most 2 or 4 MiB, even if the file grows.
        (ulimit -f 4096 && exec cp -a -- "./$leaf" "$kept/$copy")
        return
    fi
    # cp(1) opens without O_NONBLOCK, and would wait for a FIFO. Without -R it copies no
    # folder.
    timeout -k 2 10 cp -P --preserve=all --attributes-only -- "./$leaf" "$kept/$copy" 3<&- 6>&- 7>&- &&
        [ -f "$kept/$copy" ] && [ ! -L "$kept/$copy" ] &&
        dd if="./$leaf" of="$kept/$copy" bs=1048577 count=1 iflag=nofollow,nonblock,fullblock conv=notrunc status=none
}

# new_file copies the new file next to the live one, as $tmp. It gets the old one's owner,
# mode and label in root's own folder; a saved file, $origin, has its own. With a mode of its
# own it does not get the old one's ACL, of which that mode would be the mask (acl(5)).
new_file() {
    [ -n "$saved" ] || staged_part || return
    if [ ! -f "$origin" ]; then
        return 1
    elif [ -n "$saved" ]; then
        :
    elif [ "$old" != none ]; then
        cp -a --no-preserve="timestamps${new_mode:+,mode}" --attributes-only -- "$kept/$copy" "$origin" || return
    else
        chmod 600 -- "$origin" && chown "${user:-root}:${group:-$(id -g -- "${user:-root}")}" -- "$origin" || return
    fi
    if [ -z "$saved" ]; then
        [ -z "$new_owner" ] || chown -- "$new_owner" "$origin" || return
        [ -z "$new_mode" ] || chmod -- "$new_mode" "$origin" || return
    fi
    # A first file gets its label from its folder.
    if [ "$old$saved" = none ]; then beside "$origin" --no-preserve=timestamps,context; else beside "$origin" --no-preserve=timestamps; fi
}

# beside FILE [OPTION] copies it into the current folder, under a new name, $tmp. Any
# user of the host can read that name in cp's arguments (proc(5)), and cp follows an
# existing link: so it must remove it first. If another appears after that, open(2) with
# O_EXCL fails, and cp too, unless POSIXLY_CORRECT is set.
beside() {
    read -r random </proc/sys/kernel/random/uuid
    tmp=./.aoifleet-$random
    (unset POSIXLY_CORRECT && exec cp -aT --remove-destination ${2:+"$2"} -- "$1" "$tmp")
}

# put_in_place moves $tmp to the live name, in one step. If rename(2) fails with EXDEV,
# mv(1) copies by name, file by file; a folder's owner can cause that (project ids,
# xfs_quota(8)). ln(1) never copies: it creates a link under another name and renames
# that.
put_in_place() {
    if [ -z "$guarded" ]; then
        mv -T -- "$tmp" "./$leaf"
    else
        ln -fTP -- "$tmp" "./$leaf" && rm -f -- "$tmp"
    fi
}

# sweep removes the leftovers of killed runs next to the live file, of which there may be
# any number, but not the copy of this run's rehearsal. Until ln(1) has renamed its link, that is a second name of $tmp; an
# unrelated file may have a similar name.
sweep() {
    for left in ./.aoifleet-*; do
        # shellcheck disable=SC3013 # dash, bash and busybox have it
        [ "$left" -ef "./$leaf" ] || swept -name 'Cu??????' -samefile "$left"
        break
    done
    set --
    [ "$rehearsal" = no ] || set -- ! -name ".aoifleet-rehearsal-$run*"
    swept -name '.aoifleet-*' "$@"
}

swept() { timeout -k 2 10 find . -maxdepth 1 "$@" ! -type d -delete 2>/dev/null 6>&- 7>&-; }

# in_place FILE DIGEST reports whether the live file is a copy of FILE, with its owner and
# mode. Users who can write the folder may have replaced it.
in_place() {
    stat_here "$1" && digest_of_live
    [ "$kind:$live" = "file:$2" ] && case $attributes in "$expected":*) ;; *) return 1 ;; esac
}

# flush FILE... syncs them, and the current folder, to disk. If others can write that
# folder, it opens no name in it and syncs the whole file system.
flush() {
    if [ -n "$guarded" ]; then sync -f . "$state" "$ROOT/etc/systemd/system"; else sync -- "$@" .; fi
}

# make_state makes the unit's folder, never through a link in its place.
make_state() {
    [ ! -L "$state" ] || return 1
    [ -d "$state/backups" ] || mkdir -p -- "$state/backups" 2>/dev/null
    [ -d "$state/backups" ] && [ -O "$state" ]
}

# clean_up removes what this run created before any change, and nothing of another run: also
# the staged file, which new_file may have created again since the operator removed it.
# While the receipt exists, the dead-man switch cleans up too.
clean_up() {
    [ -n "${made:-}" ] || return 0
    kept=$made made=''
    # With the lock, so that the name is not another run's by the time it is removed.
    [ -z "$mine" ] || { lock 5 && has_state pending; } || mine=''
    each_file remove_new
    rm -f -- "$kept/receipt" "$kept"/certificate* ${mine:+"$state/pending"} "$state/staged-$run" ${package:+"$state/staged-$run.old" "$state/staged-$run.new"}
    set -- $?
    exec 6>&-
    [ "$1" != 0 ] || remove_run
}

# remove_new removes the new file that is next to the live one.
remove_new() {
    in_folder || return 0
    [ -z "$tmp" ] || rm -f -- "$tmp" 2>/dev/null
    remove_copy
}

# remove_copy removes the copy of a rehearsal.
remove_copy() { [ "$rehearsal" = no ] || ! in_folder || rm -f -- "./.aoifleet-rehearsal-$run${copy#certificate}"; }
