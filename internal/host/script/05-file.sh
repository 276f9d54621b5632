
# --- the file ---

# look_at_file resolves $path and tells what is there; 1 if it can't be used.
# One stat(1) answers for the file, for the folders on the way to it, and for
# the log, whose turn comes soon.
look_at_file() {
    kind='missing' holder='' holder_name='' live=none attributes='' facts=''
    walk_path || { real='' kind=nodir; return 1; }
    [ ! -e "$ROOT$real" ] || kind='file'
    [ "$kind" = missing ] || [ -f "$ROOT$real" ] || { kind=other; return 1; }
    set -f
    IFS=$NL
    # The time of the last change (%Z) and not of the last write: `cp -p` and
    # `mv` keep the latter.
    # shellcheck disable=SC2086 # one folder a line
    facts=$(stat -L -c '%u:%U:%G:%a:%s:%.Z:%d:%i:%.Y:%C:%n' -- "$ROOT$real" "$ROOT$log" $folders 2>/dev/null)
    for line in $facts; do
        # No here-document: the shell reads byte by byte.
        IFS=:
        # shellcheck disable=SC2086
        set -- $line
        case /${line#*:/} in
        "$ROOT$real") holder=$1 holder_name=$2 label=${line#*:*:*:*:*:*:*:*:*:} attributes=$1:$2:$3:$4:$5:$6:${label%%:/*} ;;
        "$ROOT$log") log_size=$5 log_inode=$7:$8 log_state="$5 $9 $7:$8" ;;
        esac
    done
    unset IFS
    set +f
}

# digest_of_live: not every look needs it.
digest_of_live() {
    live=none
    [ -f "$ROOT$real" ] || return 0
    live=$(sha256sum <"$ROOT$real")
    live=${live%% *}
}

# safe_path refuses a path on which somebody else than root and the file's
# owner can write a folder: they could put any file there. A group of the
# owner's own name counts as the owner. It goes by what look_at_file has seen.
safe_path() {
    unsafe=''
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
    [ -z "$unsafe" ]
}

# walk_path leaves in $real the file that $path leads to, and in $folders every
# folder that a name is looked up in on the way, those on the way through
# symlinks too (path_resolution(7)). 1 where a folder is missing, 2 where the
# links go in a circle or the way is too long to be looked at.
walk_path() {
    folders='' real='' rest=$path hops=0
    while [ -n "$rest" ]; do
        part=${rest%%/*}
        case $rest in */*) rest=${rest#*/} ;; *) rest='' ;; esac
        case $part in
        '' | .) continue ;;
        ..) real=${real%/*}; continue ;;
        esac
        [ -d "$ROOT$real/" ] || return 1
        folders=$folders$ROOT$real/$NL
        [ "${#folders}" -le 65536 ] || return 2
        real=$real/$part
        [ -L "$ROOT$real" ] || continue
        target=$(readlink -- "$ROOT$real")
        hops=$((hops + 1))
        case $hops:$target in 41:* | *"$NL"*) return 2 ;; esac
        case $target in
        /*) real='' target=${target#"$ROOT"} ;;
        *) real=${real%/*} ;;
        esac
        rest=$target${rest:+/$rest}
    done
}

# new_file makes a temporary file beside the live one, with the old one's
# owner, mode and label before it holds a byte; a saved file gets its own back.
new_file() {
    read -r random </proc/sys/kernel/random/uuid
    tmp=$ROOT${real%/*}/.aoifleet-$random
    if [ -n "$saved" ]; then
        cp -a --attributes-only -- "$bytes" "$tmp"
    elif [ "$old" != none ]; then
        cp -a --attributes-only -- "$ROOT$real" "$tmp"
    else
        (set -C && : >"$tmp") && chmod 600 -- "$tmp" && chown "${user:-root}:${group:-$(id -g -- "${user:-root}")}" -- "$tmp"
    fi
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
    rm -f -- ${tmp:+"$tmp"} "$kept/receipt" "$kept/certificate" ${mine:+"$state/pending"} && forget
}
