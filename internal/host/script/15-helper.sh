
# --- the helper ---
#
# Installed on a host, this script is all that the login user may run as root
# there. Then what it is told comes from somebody who may be after more than a
# certificate: what belongs to the host is read from /etc/aoifleet/helper.conf
# and from the agent's configuration, and only compared with what was sent.

helper=''
helper_path=/usr/local/libexec/aoifleet-host
helper_conf=/etc/aoifleet/helper.conf

# installed VERSION is the last line of the installed file. Its input is the
# length of what follows, in seven digits and a line break, then the values, then
# the operator's word. head(1) reads no byte more than it is told.
installed() {
    begin
    helper=$1
    say ready helper
    # 2 is the conversation's: values, results, and who says what when.
    say helper "2 $helper"
    # A pattern must not take all of the host's memory; and the caller's own limits
    # must not stop root half-way.
    # shellcheck disable=SC3045 # dash, bash and busybox have them
    { ulimit -v 2000000; ulimit -s 8192; ulimit -n 1024; ulimit -t unlimited; ulimit -f unlimited; ulimit -d unlimited; } 2>/dev/null
    length=$(timeout 60 head -c 8 | tr -d '\000')
    case $length in
    [0-9][0-9][0-9][0-9][0-9][0-9][0-9]) length=${length#"${length%%[!0]*}"} ;;
    *) refuse internal 'not a length' ;;
    esac
    [ "${length:-0}" -le 262144 ] || refuse internal 'the values are too long'
    # A shell takes long over a long line; no value is as long as this.
    values=$(timeout 60 head -c "${length:-0}" | tr -d '\000' | cut -b 1-8192)
    main <<EOF
$values
EOF
}

# confine refuses what the caller must not decide.
confine() {
    me=$(id -u) asked=$path asked_real=$real
    sound_values
    # The receipt would tell it to whoever looks next, in place of what is in the file.
    # shellcheck disable=SC2034
    about=''
    read_conf
    # The unit's own name too, which is what it is called from the first look on.
    [ "$unit" = "$conf_unit" ] || [ "$(systemctl show -p Id "$conf_unit" 2>/dev/null)" = "Id=$unit" ] || same agent.unit "$unit" "$conf_unit"
    same agent.log "$log" "$conf_log"
    [ -z "$config" ] || same agent.config "$config" "$conf_config"
    [ "$verb:$conf_diagnostics" != diagnose:no ] || refuse configuration "the host gives no diagnostics away ($helper_conf)"
    case $as_root:$conf_diagnostics in
    no:* | yes:root) ;;
    *) refuse configuration "the host lets its helper run no diagnostics as root (diagnostics=root in $helper_conf)" ;;
    esac
    [ "$conf_diagnostics" != no ] || diagnostics=0
    config=$conf_config
    out_of_reach "$log" || refuse configuration "${SUDO_USER:-the caller} can write the folder $unsafe on the way to the agent's log"
    out_of_reach "$config" || refuse configuration "${SUDO_USER:-the caller} can write the folder $unsafe on the way to the agent's configuration"
    case $verb in
    observe | examine | rotate) allow_paths ;;
    esac
    holder='' path=$asked real=$asked_real
    case $verb:$path in
    rotate:* | observe:?* | examine:?*) allowed_path ;;
    esac
    # What root has written down, here or in the configuration, is believed.
    by_inventory=yes
    # What the dead-man switch needs a copy of: this file without its last line.
    [ "$verb" != rotate ] || self=$(sed '$d' -- "$ROOT$helper_path")
}

# sound_values: what the verbs trust the program to send.
sound_values() {
    if [ -z "$run" ] || [ "${#run}" -gt 64 ]; then refuse internal 'not a run id'; fi
    # That of diagnostics is only a limit, of what there is room for.
    room=$size
    case $verb:$size in *:0* | *:?????????????*) ;; diagnose:?* | rotate:?*) room=$((size / 1048576)) ;; esac
    for value in "$room" "$window" "$timeout" "${port:-0}" "$hold" "$keep" "$max_age" "$diagnostics"; do
        case $value in '' | 0?* | ????????*) refuse internal 'not a sound number' ;; esac
    done
    # A certificate; a day, and what confirm_timeout makes of two.
    if [ "$room" -gt 1048576 ] || [ "$window" -gt 86400 ] || [ "$timeout" -gt 86400 ] || [ "$hold" -gt 259200 ] || [ "$diagnostics" -gt 900 ]; then
        refuse internal 'a number is too large'
    fi
    for value in "$swap" "$start" "$deadman" "$as_root"; do
        case $value in yes | no) ;; *) refuse internal 'neither yes nor no' ;; esac
    done
    case $old$new in *[!0-9a-z]*) refuse internal 'not a digest' ;; esac
    case $owner$thumbprint$path$real in *[[:cntrl:]]*) refuse internal 'a value holds a control character' ;; esac
    if [ "${#owner}" -gt 200 ] || [ "${#thumbprint}" -gt 128 ] || [ "${#path}" -gt 4096 ] || [ "${#deny}" -gt 65536 ] || [ "${#expect}" -gt 65536 ]; then
        refuse internal 'a value is too long'
    fi
    set -f
    IFS=$NL
    count=0
    for value in $deny$expect; do
        count=$((count + 1))
        if [ "$count" -gt 100 ] || [ "${#value}" -gt 1000 ]; then refuse configuration 'health.deny and health.expect have too many patterns, or one that is too long'; fi
    done
    unset IFS
    set +f
    # grep tries a back-reference in every way that there is.
    case $deny$expect in *\\[1-9]*) refuse configuration 'a pattern of health.deny or health.expect has a back-reference' ;; esac
    # Without them what takes long is to read a pattern, whatever the text.
    [ -z "$deny$expect" ] || patterns_work 'timeout 5'
}

# read_conf: for what this host lets the helper work.
read_conf() {
    conf_unit=az-aoi-ingestion.service conf_config=/etc/az-aoi-ingestion/config.yaml
    conf_log=/var/log/az-aoi-ingestion/stdout.log conf_paths='' conf_diagnostics=yes
    [ -e "$ROOT$helper_conf" ] || [ -L "$ROOT$helper_conf" ] || return 0
    roots_own "$helper_conf" || refuse configuration "others than root can write $helper_conf"
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
        '' | '#'*) ;;
        unit=?*) conf_unit=${line#*=} ;;
        config=/*) conf_config=${line#*=} ;;
        log=/*) conf_log=${line#*=} ;;
        diagnostics=yes | diagnostics=no | diagnostics=root) conf_diagnostics=${line#*=} ;;
        path=/*) conf_paths=$conf_paths$NL${line#*=} ;;
        *) refuse configuration "a line of $helper_conf is not unit=, config=, log= or path= with a path, nor diagnostics=yes, no or root" ;;
        esac
    done <"$ROOT$helper_conf"
}

# same KEY SENT HERE
same() {
    [ "$2" = "$3" ] || refuse configuration "$1 is $2 in the inventory, but the host lets its helper work for $3 only ($helper_conf)"
}

# allow_paths: where certificates may be is what root has written down, in $paths;
# in $reachable, where the caller can put something else in their place.
allow_paths() {
    paths=$conf_paths path=''
    if [ -z "$paths" ] && [ -e "$ROOT$config" ]; then
        roots_own "$config" || refuse configuration "others than root can write $config: name the certificate with path= in $helper_conf"
        path=''
        set -f
        observe_config >/dev/null
    fi
    reachable='' allowed=''
    set -f
    IFS=$NL
    for path in $paths; do
        if out_of_reach "$path"; then allowed=$allowed$NL$path; else reachable=$reachable$NL$path; fi
        IFS=$NL
    done
    unset IFS
    set +f
}

# only_allowed leaves in $paths what may be looked at.
only_allowed() { [ -z "$helper" ] || paths=$allowed; }

# allowed_path refuses $path unless it is one of those.
allowed_path() {
    [ -n "$path" ] || refuse internal 'no path'
    case $NL$allowed$NL in *"$NL$path$NL"*) return ;; esac
    case $NL$reachable$NL in *"$NL$path$NL"*)
        out_of_reach "$path"
        refuse configuration "${SUDO_USER:-the caller} can write the folder $unsafe: with the helper the certificate must be out of their reach"
        ;;
    esac
    refuse configuration "neither the agent's configuration nor $helper_conf on the host names $path as a certificate"
}

# roots_own FILE: can root alone write it, and the folders on the way?
roots_own() {
    path=$1
    look_at_file && [ "$kind" = file ] && only_root && out_of_reach "$1" || return 1
    IFS=: read -r uid mode <<EOF
$(stat -L -c '%u:%a' -- "$ROOT$path")
EOF
    [ "$uid" = "$me" ] || return 1
    case $mode in *[2367] | *[2367]?) return 1 ;; esac
}

# only_root: goes by what look_at_file has seen.
only_root() {
    holder=$me holder_name=root
    safe_path
}

# out_of_reach PATH: can the caller write none of the folders on the way? Else
# they could lead root somewhere else between two looks.
out_of_reach() {
    [ "${SUDO_UID:-$me}" != "$me" ] || return 0
    unsafe=''
    walk "$1"
    # Where a folder is missing, it counts who could make it.
    [ $? -ne 2 ] || { unsafe=$1; return 1; }
    set -f
    IFS=$NL
    # shellcheck disable=SC2086 # one folder a line
    checked=$(stat -c '%u:%a:%n' -- $folders 2>/dev/null) || unsafe=$1
    for line in $checked; do
        IFS=: read -r uid mode dir <<EOF
$line
EOF
        [ "$uid" != "$SUDO_UID" ] || unsafe=${dir#"$ROOT"}
        # Whatever the group: with an ACL its bits are the mask (acl(5)).
        case $mode in *[2367] | *[2367]?) unsafe=${dir#"$ROOT"} ;; esac
    done
    unset IFS
    set +f
    [ -z "$unsafe" ]
}

# install puts this script where sudoers names it, whole or not at all, and not
# where somebody else than root could put another in its place.
install() {
    me=$(id -u) asked=$path file=$ROOT$helper_path
    case $new in '' | *[!0-9a-f]*) refuse internal 'not a version' ;; esac
    make_folder "${helper_path%/*}"
    text=${self#"$NL"}
    sum=$(printf '%sinstalled %s 3<&0\n' "$text" "$new" | sha256sum)
    install_conf
    live=$(sha256sum 2>/dev/null <"$file")
    if [ "$live" = "$sum" ] && [ ! -L "$file" ] && [ "$(stat -c %u:%a -- "$file")" = "$me:755" ]; then
        say result current
        return
    fi
    put_file "$file" 755 "${text}installed $new 3<&0" || refuse disk "$helper_path can not be written"
    live=$(sha256sum <"$file")
    [ "$live" = "$sum" ] || refuse disk "$helper_path is not what was written"
    say result installed
}

# install_conf writes down what differs from the defaults. What is there already
# is the host's own.
install_conf() {
    read_conf
    case $conf_unit:$conf_config:$conf_log:$NL$conf_paths$NL in
    "$unit:$config:$log:$NL"*"${asked:+$NL}$asked$NL"*) return ;;
    esac
    if [ -e "$ROOT$helper_conf" ]; then
        say note "$helper_conf on the host is kept; it says something else than the inventory"
        return
    fi
    make_folder "${helper_conf%/*}"
    put_file "$ROOT$helper_conf" 644 "unit=$unit${NL}config=$config${NL}log=$log${asked:+${NL}path=}$asked" || refuse disk "$helper_conf can not be written"
    say note "$helper_conf is written: the helper works for this host's agent settings only"
}

# make_folder PATH, which must be root's alone, as must be all on the way.
make_folder() {
    (umask 022 && mkdir -p -- "$ROOT$1") 2>/dev/null || refuse disk "$1 can not be made"
    path=$1/x
    { look_at_file && only_root; } || refuse configuration "others than root can write the folder ${unsafe:-$1}"
}

# put_file FILE MODE TEXT: by one rename, and on disk before it.
put_file() {
    read -r random </proc/sys/kernel/random/uuid
    tmp=${1%/*}/.aoifleet-$random
    (set -C && printf '%s\n' "$3" >"$tmp") 2>/dev/null && chmod "$2" -- "$tmp" && chown "$me:$(id -g)" -- "$tmp" &&
        sync -- "$tmp" && mv -T -- "$tmp" "$1" && tmp='' && sync -- "${1%/*}" && label "$1" && return
    rm -f -- ${tmp:+"$tmp"}
    return 1
}

# label as the policy of SELinux says, where there is one.
label() { ! command -v restorecon >/dev/null || restorecon -- "$1" 2>/dev/null || :; }
