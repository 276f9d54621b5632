
# --- files, also in folders that others can write ---
#
# The folders of the certificate, the log and the configuration may belong to the
# agent's user, who can put another thing under any name in them at any moment. So
# root opens, makes and removes nothing there by its path. It enters the folder,
# sees that this is the one that the path names, and goes by single names: dd(1)
# opens with O_NOFOLLOW and O_NONBLOCK, cp(1) creates with O_EXCL and sets owner
# and mode through the descriptor, ln(1) and rm(1) act on the name itself. What is
# only looked up (stat(2)) may be named by its path.

# enter FOLDER, whose path has no link in it: one that has come since shows in $PWD.
# dash and busybox ask getcwd(3) for it when they are there; bash works it out from
# the path, before it goes. The kernel's own link to where the script is leads all of
# them to the same folder again, by its true path.
enter() {
    cd -P -- "$1/" 2>/dev/null && cd -P /proc/self/cwd 2>/dev/null &&
        case $PWD:$1 in "$1:$1" | /: | //:) ;; *) return 1 ;; esac
}

# contents FOLDER NAME [SKIP COUNT] prints bytes of a file, at most 1 MiB and one
# byte unless told. A link fails, a FIFO is empty, and neither is waited for. It takes
# the place of the shell that calls it: one of a pipe, or of $( ).
contents() {
    enter "$1" && exec dd if="./$2" bs=65536 skip="${3:-0}" count="${4:-1048577}" \
        iflag=nofollow,nonblock,fullblock,skip_bytes,count_bytes status=none 2>/dev/null
}

# walk PATH follows the links on it (path_resolution(7)). It leaves in $walked where
# they lead, in $folders every folder that a name is looked up in, and in $way those
# up to the last link that leads to another folder. 1 where a folder is missing, 2
# where the links go in a circle or the way is too long to be looked at.
walk() {
    folders='' way='' walked='' rest=$1 hops=0
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
        case $target in */* | . | ..) way=$folders ;; esac
        rest=$target${rest:+/$rest}
    done
}

# roots_alone FOLDERS: can only root write them? Else $unsafe is one that others can.
# The first that another can write shows for certain: only root can put another in
# its place.
roots_alone() {
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

# followed: may the links of the last walk be followed? One in a folder that others
# can write may lead root to a file that they can't read, or to one that is not
# there yet.
followed() { [ -z "$way" ] || roots_alone "$way"; }

form='%u:%U:%G:%a:%s:%.Z:%d:%i:%.Y:%F:%n'

# look_at_file resolves $path and tells what is there; 1 if it can't be used. With
# $stays the script is in the file's folder from then on.
look_at_file() {
    walk "$path" || { no_facts && real='' here='' kind=nodir; return 1; }
    real=$walked
    look_in_place
}

# look_in_place [FILE] looks at the file $real, whose folders are $folders: at itself,
# not at what a link there leads to. One stat(1) answers for it, for its folder and
# those on the way, for the log and the configuration, whose turn comes soon, and for
# FILE, of root's: its owner and mode are $expected.
look_in_place() {
    no_facts
    expected='' root_file=${1:-}
    here='' guarded='' theirs='' place=$ROOT${real%/*} leaf=${real##*/}
    [ -z "$stays" ] || enter "$place" || { kind=moved; return 1; }
    set -f
    IFS=$NL
    # shellcheck disable=SC2086 # one folder a line
    facts=$({ [ -n "$stays" ] || enter "$place"; } && stat -c "$form" -- . "./$leaf" ${log_real:+"$ROOT$log_real"} ${config_real:+"$ROOT$config_real"} $config_folders ${root_file:+"$root_file"} $folders 2>/dev/null)
    unset IFS
    set +f
    read_facts "./$leaf" "$root_file"
    [ "$told_config" = "$config_folders" ] || theirs=yes
    case $told_of:$here in "$folders":*:"$there") ;; *) here='' kind=moved ;; esac
    case $kind in file | missing) ;; *) return 1 ;; esac
}

# look_at_files looks at the certificate, the log and the configuration again, by one
# stat(1) and their paths.
look_at_files() {
    no_facts
    facts=$(stat -c "$form" -- ${real:+"$ROOT$real"} ${log_real:+"$ROOT$log_real"} ${config_real:+"$ROOT$config_real"} 2>/dev/null)
    read_facts "$ROOT$real"
}

no_facts() {
    now_up
    looked_at=$up
    kind=missing holder='' holder_name='' live=none attributes='' size_of_file='' file_state='' facts=''
    log_kind=missing log_state='' log_size='' log_inode='' config_state=''
}

# read_facts FILE [OTHER] takes $facts apart; FILE is the certificate's name there.
# Changed is when the inode changed (%Z): unlike the time of the last write it can't be
# set. $guarded: others than root can write a folder on the way; $theirs: or the
# configuration. A folder that nothing is told of (FUSE hides its own from root) is
# no folder of root's.
read_facts() {
    its=$1 root_file=${2:-/} there='' told_of='' told_config=''
    set -f
    IFS=$NL
    for line in $facts; do
        # No here-document: the shell reads byte by byte.
        IFS=:
        # shellcheck disable=SC2086
        set -- $line
        f_uid=$1 f_owner=$1:$2:$3 f_mode=$4 f_size=$5 f_changed=$6 f_inode=$7:$8 f_written=$9 f_type=${10}
        shift 10
        f_name=$*
        case $f_name in
        .) here=$f_uid:$f_inode ;;
        */.)
            told_config=$told_config$f_name$NL
            ! others_write "$f_uid" "$f_mode" || theirs=yes
            ;;
        */)
            told_of=$told_of$f_name$NL
            ! others_write "$f_uid" "$f_mode" || guarded=yes
            [ "$f_name" != "$place/" ] || there=$f_inode
            ;;
        "$its")
            kind=$f_type holder=$f_uid holder_name=${f_owner#*:} holder_name=${holder_name%:*} size_of_file=$f_size
            attributes=$f_owner:$f_mode:$f_size:$f_changed file_state=$f_inode:$f_size:$f_changed
            ;;
        "$root_file") expected=$f_owner:$f_mode ;;
        "$ROOT$log_real") log_kind=$f_type log_size=$f_size log_inode=$f_inode log_state="$f_size $f_written $f_inode" ;;
        "$ROOT$config_real")
            config_state=$f_inode:$f_size:$f_changed
            ! others_write "$f_uid" "$f_mode" || theirs=yes
            ;;
        esac
    done
    unset IFS
    set +f
    case $kind in regular*) kind='file' ;; missing) ;; *) kind=other ;; esac
    case $log_kind in regular*) log_kind='file' ;; missing) ;; *) log_kind=other log_size='' log_state='' ;; esac
}

# others_write UID MODE: can others than root write what has these?
others_write() { case $1:$2 in 0:*[2367] | 0:*[2367]? | [!0]*) ;; *) return 1 ;; esac; }

# digest_of_live: not every look needs it. In a folder of root's own the file is not
# another, but it may grow without end while it is read.
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

# safe_path refuses a path on which others than root and the file's owner can write
# a folder: they could put any file there. A group of the owner's own name counts as
# the owner. Where there is no file yet, links may only be root's: the owner could
# have one made anywhere. It goes by what look_at_file has seen.
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
    [ -n "$unsafe" ] || [ "$kind" = file ] || followed
    [ -z "$unsafe" ] && named_by_root
}

# named_by_root: may root believe the path? One in a configuration that others can
# write may lead only to what is the agent's user's own; unless the inventory names it.
named_by_root() {
    untrusted=''
    [ -n "$theirs" ] && [ "$by_inventory" != yes ] || return 0
    holder=$(id -u -- "${user:-root}" 2>/dev/null)
    case $holder:$kind:$attributes:$here in
    0:*) ;;
    "$holder:file:$holder:"* | "$holder:missing::$holder:"*) return 0 ;;
    esac
    untrusted="others than root can write $config, and the file that it names is not the agent's user's own"
    return 1
}

# keep_old saves the live file: bytes, owner, mode and label; its times only where
# others can't write the folder, because its bytes are filled in afterwards there.
keep_old() {
    if [ -z "$guarded" ]; then
        # No more than 2 or 4 MiB, however the file grows.
        (ulimit -f 4096 && exec cp -a -- "./$leaf" "$kept/certificate")
        return
    fi
    # cp(1) opens without O_NONBLOCK, and would wait for a FIFO. Without -R it takes no
    # folder.
    timeout -k 2 10 cp -P --preserve=all --attributes-only -- "./$leaf" "$kept/certificate" 3<&- 6>&- 7>&- &&
        [ -f "$kept/certificate" ] && [ ! -L "$kept/certificate" ] &&
        dd if="./$leaf" of="$kept/certificate" bs=1048577 count=1 iflag=nofollow,nonblock,fullblock conv=notrunc status=none
}

# new_file puts the new file beside the live one, as $tmp. It gets owner, mode and
# label in root's own folder: those of the old one; a saved file, $origin, has its own.
new_file() {
    [ -n "$saved" ] || origin=$state/staged-$run
    if [ ! -f "$origin" ]; then
        return 1
    elif [ -n "$saved" ]; then
        :
    elif [ "$old" != none ]; then
        cp -a --no-preserve=timestamps --attributes-only -- "$kept/certificate" "$origin" || return
    else
        chmod 600 -- "$origin" && chown "${user:-root}:${group:-$(id -g -- "${user:-root}")}" -- "$origin" || return
    fi
    # A first file has the label that its folder gives it.
    if [ "$old$saved" = none ]; then beside "$origin" --no-preserve=timestamps,context; else beside "$origin" --no-preserve=timestamps; fi
}

# beside FILE [OPTION] copies it into the folder that the script is in, under a new
# name, $tmp. All users of a host can read that name in cp's arguments (proc(5)), and
# cp follows a link that it finds there: so it has to remove it first. What comes
# after that makes open(2) with O_EXCL fail, and cp too, unless POSIXLY_CORRECT is set.
beside() {
    read -r random </proc/sys/kernel/random/uuid
    tmp=./.aoifleet-$random
    (unset POSIXLY_CORRECT && exec cp -aT --remove-destination ${2:+"$2"} -- "$1" "$tmp")
}

# put_in_place moves $tmp to the live name, in one step. mv(1) copies where rename(2)
# does not work, by names and file by file; whoever owns a folder can bring that about
# (EXDEV between project ids, xfs_quota(8)). ln(1) never copies: it makes a link under
# another name and renames that.
put_in_place() {
    if [ -z "$guarded" ]; then
        mv -T -- "$tmp" "./$leaf"
    else
        ln -fTP -- "$tmp" "./$leaf" && rm -f -- "$tmp"
    fi
}

# sweep removes what runs that could not do so have left beside the live file. There
# may be any number of such names. Until ln(1) has renamed it, the link that it makes is
# a second name of $tmp; another file may have such a name, too.
sweep() {
    for left in ./.aoifleet-*; do
        # shellcheck disable=SC3013 # dash, bash and busybox have it
        [ "$left" -ef "./$leaf" ] || swept -name 'Cu??????' -samefile "$left"
        break
    done
    swept -name '.aoifleet-*'
}

swept() { timeout -k 2 10 find . -maxdepth 1 "$@" ! -type d -delete 2>/dev/null 6>&- 7>&-; }

# landed FILE DIGEST: is what now stands under the live name that file, with its owner
# and mode? Whoever can write the folder can have put another
# in its place.
landed() {
    look_in_place "$1" && digest_of_live
    [ "$kind:$live" = "file:$2" ] && case $attributes in "$expected":*) ;; *) return 1 ;; esac
}

# flush FILE... puts them on disk, and what was written in the folder that the script
# is in. Where a name in it can be another's, no name is opened: all that is there is
# written.
flush() {
    if [ -n "$guarded" ]; then sync -f . "$state" "$ROOT/etc/systemd/system"; else sync -- "$@" .; fi
}

make_state() {
    [ -d "$state/backups" ] || mkdir -p -- "$state/backups" 2>/dev/null
    [ -d "$state/backups" ] && [ ! -L "$state" ] && [ -O "$state" ]
}

# clean_up removes what this run made before it changed anything, and nothing of
# another run. As long as the receipt is there the switch cleans up too.
clean_up() {
    [ -n "${made:-}" ] || return 0
    kept=$made made=''
    ended pending || mine=''
    [ -z "$tmp" ] || rm -f -- "$tmp" 2>/dev/null
    rm -f -- "$kept/receipt" "$kept/certificate" ${mine:+"$state/pending"} && forget
}
