
# --- the file ---

# look_at_file resolves $path and tells what is there; 1 if it can't be used.
look_at_file() {
    kind='missing' holder='' holder_name='' live=none attributes=''
    real=$(readlink -f -- "$ROOT$path" 2>/dev/null)
    case $real in
    *"$NL"*) kind=other ;;
    "$ROOT"/*) real=${real#"$ROOT"} ;;
    *) real='' kind=nodir ;;
    esac
    [ "$kind" = missing ] || return 1
    [ -e "$ROOT$real" ] || return 0
    [ -f "$ROOT$real" ] || { kind=other; return 1; }
    kind='file'
    # The time of the last change (%Z) and not of the last write: `cp -p` and
    # `mv` keep the latter.
    attributes=$(stat -c '%u:%U:%G:%a:%s:%.Z:%C' -- "$ROOT$real" 2>/dev/null)
    IFS=: read -r holder holder_name _ <<EOF
$attributes
EOF
    live=$(sha256sum <"$ROOT$real")
    live=${live%% *}
}

# safe_path refuses a path on which somebody else than root and the file's
# owner can write a folder: they could put any file there. A group of the
# owner's own name counts as the owner.
safe_path() {
    unsafe=''
    if [ -z "$holder" ]; then
        holder_name=${user:-root}
        holder=$(id -u -- "$holder_name" 2>/dev/null)
    fi
    walk_path || { unsafe=$path; return 1; }
    set -f
    IFS=$NL
    # shellcheck disable=SC2086 # one folder a line
    checked=$(stat -c '%u:%U:%G:%a:%n' -- $folders 2>/dev/null)
    # What could not be looked at is not safe.
    [ -n "$checked" ] || unsafe=$path
    for line in $checked; do
        IFS=: read -r uid _ gname mode dir <<EOF
$line
EOF
        case $uid in 0 | "$holder") ;; *) unsafe=${dir#"$ROOT"} ;; esac
        case $mode in
        *[2367]) unsafe=${dir#"$ROOT"} ;;
        *[2367]?) case $gname in root | "$holder_name") ;; *) unsafe=${dir#"$ROOT"} ;; esac ;;
        esac
    done
    unset IFS
    set +f
    [ -z "$unsafe" ]
}

# walk_path lists in $folders every folder that a name is looked up in on the
# way to the file, those on the way through symlinks too (path_resolution(7)).
walk_path() {
    folders='' at='' rest=$path hops=0
    while [ -n "$rest" ]; do
        part=${rest%%/*}
        case $rest in */*) rest=${rest#*/} ;; *) rest='' ;; esac
        case $part in
        '' | .) continue ;;
        ..) at=${at%/*}; continue ;;
        esac
        folders=$folders$ROOT$at/$NL
        [ "${#folders}" -le 65536 ] || return 1
        at=$at/$part
        [ -L "$ROOT$at" ] || continue
        target=$(readlink -- "$ROOT$at")
        hops=$((hops + 1))
        case $hops:$target in 41:* | *"$NL"*) return 1 ;; esac
        case $target in
        /*) at='' target=${target#"$ROOT"} ;;
        *) at=${at%/*} ;;
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
