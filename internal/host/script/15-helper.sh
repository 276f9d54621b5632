
# --- the helper ---
#
# Installed on a host, this script is all that the login user may run as root. The caller
# may want more than to replace a certificate: so the host's settings come from
# /etc/aoifleet/helper.conf and from the agent's configuration, and the caller's values
# are only compared with them.

helper_path=/usr/local/libexec/aoifleet-host
helper_conf=/etc/aoifleet/helper.conf

# installed VERSION is the last line of the installed file. Its input is the length of the
# values, in seven digits and a newline, then the values, then the operator's answers.
# head(1) reads exactly as many bytes.
installed() {
    begin
    helper=$1
    say ready helper
    # 2 is the version of the protocol: values, results, and their order.
    say helper "2 $helper"
    # A pattern must not use all of the host's memory; and the caller's own limits must not
    # stop root half-way.
    # shellcheck disable=SC3045 # dash, bash and busybox have them
    { ulimit -v 2000000; ulimit -s 8192; ulimit -n 1024; ulimit -t unlimited; ulimit -f unlimited; ulimit -d unlimited; } 2>/dev/null
    length=$(timeout 60 head -c 8 | tr -d '\000')
    case $length in
    [0-9][0-9][0-9][0-9][0-9][0-9][0-9]) length=${length#"${length%%[!0]*}"} ;;
    *) refuse internal 'not a length' ;;
    esac
    [ "${length:-0}" -le 262144 ] || refuse internal 'the values are too long'
    # A shell is slow with long lines; no value is this long.
    values=$(timeout 60 head -c "${length:-0}" | tr -d '\000' | cut -b 1-8192)
    main <<EOF
$values
EOF
}

# confine refuses what the caller must not choose.
confine() {
    me=$(id -u) asked=$path asked_real=$real
    [ "$files$new_owner$new_mode$what$new_port$also" = 1 ] || refuse configuration 'the helper changes only the certificate, and keeps its owner and mode'
    check_values
    # The receipt would report it instead of what is in the file.
    # shellcheck disable=SC2034
    about=''
    read_conf
    # The program uses the unit's own name after its first call.
    [ "$unit" = "$conf_unit" ] || [ "$(systemctl show -p Id "$conf_unit" 2>/dev/null)" = "Id=$unit" ] || must_match agent.unit "$unit" "$conf_unit"
    must_match agent.log "$log" "$conf_log"
    [ -z "$config" ] || must_match agent.config "$config" "$conf_config"
    [ "$verb:$conf_diagnostics" != diagnose:no ] || refuse configuration "the host allows no diagnostics ($helper_conf)"
    case $as_root:$conf_diagnostics in
    no:* | yes:root) ;;
    *) refuse configuration "the host allows no diagnostics as root (diagnostics=root in $helper_conf)" ;;
    esac
    [ "$conf_diagnostics" != no ] || diagnostics=0
    config=$conf_config
    out_of_reach "$log" || refuse configuration "${SUDO_USER:-the caller} can write the folder $unsafe in the path of the agent's log"
    out_of_reach "$config" || refuse configuration "${SUDO_USER:-the caller} can write the folder $unsafe in the path of the agent's configuration"
    case $verb in
    observe | examine | rotate | rehearse) allow_paths ;;
    esac
    holder='' path=$asked real=$asked_real
    case $verb:$path in
    rotate:* | rehearse:* | observe:?* | examine:?*) allowed_path ;;
    esac
    # Only root can write the path, in helper.conf or in the configuration: trust it.
    by_inventory=yes
    # The dead-man switch needs a copy of this file without its last line.
    case $verb in rotate | rehearse) self=$(sed '$d' -- "$ROOT$helper_path") ;; esac
}

# check_values refuses values that the program never sends.
check_values() {
    if [ -z "$run" ] || [ "${#run}" -gt 64 ]; then refuse internal 'not a run id'; fi
    # For diagnostics the size is only a limit.
    room=$size
    case $verb:$size in *:0* | *:?????????????*) ;; diagnose:?* | rotate:?* | rehearse:?*) room=$((size / 1048576)) ;; esac
    for value in "$room" "$window" "$timeout" "$proof_timeout" "${port:-0}" "$hold" "$keep" "$max_age" "$diagnostics"; do
        case $value in '' | 0?* | ????????*) refuse internal 'not a valid number' ;; esac
    done
    # At most a certificate, a day each, and a confirm_timeout of four days.
    if [ "$room" -gt 1048576 ] || [ "$window" -gt 86400 ] || [ "$timeout" -gt 86400 ] || [ "$proof_timeout" -gt 86400 ] || [ "$hold" -gt 345600 ] || [ "$diagnostics" -gt 900 ]; then
        refuse internal 'a number is too large'
    fi
    for value in "$swap" "$start" "$deadman" "$as_root"; do
        case $value in yes | no) ;; *) refuse internal 'neither yes nor no' ;; esac
    done
    case $old$new in *[!0-9a-z]*) refuse internal 'not a digest' ;; esac
    case $owner$thumbprint$path$real$pipelines in *[[:cntrl:]]*) refuse internal 'a value contains a control character' ;; esac
    if [ "${#owner}" -gt 200 ] || [ "${#thumbprint}" -gt 128 ] || [ "${#path}" -gt 4096 ] || [ "${#pipelines}" -gt 8192 ] || [ "${#deny}" -gt 65536 ] || [ "${#expect}" -gt 65536 ]; then
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
    # grep needs exponential time for a back-reference.
    case $deny$expect in *\\[1-9]*) refuse configuration 'a pattern of health.deny or health.expect has a back-reference' ;; esac
    # Without them only compiling a pattern can be slow, whatever the text.
    [ -z "$deny$expect" ] || patterns_work 'timeout 5'
}

# read_conf reads the settings for which this host allows the helper.
read_conf() {
    conf_unit=az-aoi-ingestion.service conf_config=/etc/az-aoi-ingestion/config.yaml
    conf_log=/var/log/az-aoi-ingestion/stdout.log conf_paths='' conf_diagnostics=yes
    [ -e "$ROOT$helper_conf" ] || [ -L "$ROOT$helper_conf" ] || return 0
    trusted_file "$helper_conf" || refuse configuration "non-root users can write $helper_conf"
    while IFS= read -r line || [ -n "$line" ]; do
        line=${line%[[:cntrl:]]} # the return of a CRLF line end
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

# must_match KEY SENT HERE refuses a value that differs from the host's.
must_match() {
    [ "$2" = "$3" ] || refuse configuration "$1 is $2 in the inventory, but the host allows its helper only $3 ($helper_conf)"
}

# allow_paths sets $paths to the certificate paths that root has written down. Of these,
# $reachable are paths that the caller can redirect, $allowed the others.
allow_paths() {
    paths=$conf_paths path=''
    if [ -z "$paths" ] && [ -e "$ROOT$config" ]; then
        trusted_file "$config" || refuse configuration "non-root users can write $config: name the certificate with path= in $helper_conf"
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

# allowed_path refuses $path unless it is in $allowed.
allowed_path() {
    [ -n "$path" ] || refuse internal 'no path'
    case $NL$allowed$NL in *"$NL$path$NL"*) return ;; esac
    case $NL$reachable$NL in *"$NL$path$NL"*)
        out_of_reach "$path"
        refuse configuration "${SUDO_USER:-the caller} can write the folder $unsafe: with the helper, a certificate must not be in such a folder"
        ;;
    esac
    refuse configuration "neither the agent's configuration nor $helper_conf on the host names $path as a certificate"
}

# trusted_file FILE reports whether only root can write it and the folders of its path.
trusted_file() {
    path=$1
    stat_path && [ "$kind" = file ] && trusted_path && out_of_reach "$1" || return 1
    IFS=: read -r uid mode <<EOF
$(stat -L -c '%u:%a' -- "$ROOT$path")
EOF
    [ "$uid" = "$me" ] || return 1
    case $mode in *[2367] | *[2367]?) return 1 ;; esac
}

# trusted_path is safe_path for a file that must be root's.
trusted_path() {
    holder=$me holder_name=root
    safe_path
}

# out_of_reach PATH reports whether the caller can write no folder of the path. Otherwise
# the caller could redirect root between two checks.
out_of_reach() {
    [ "${SUDO_UID:-$me}" != "$me" ] || return 0
    unsafe=''
    walk "$1"
    # If a folder is missing, its existing parents count.
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
        # For any group: with an ACL the group bits are the mask (acl(5)).
        case $mode in *[2367] | *[2367]?) unsafe=${dir#"$ROOT"} ;; esac
    done
    unset IFS
    set +f
    [ -z "$unsafe" ]
}

# install writes this script to the path in sudoers, completely or not at all, and not in
# a folder where non-root users could replace it.
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
    put_file "$file" 755 "${text}installed $new 3<&0" || refuse disk "cannot write $helper_path"
    live=$(sha256sum <"$file")
    [ "$live" = "$sum" ] || refuse disk "$helper_path differs from what was written"
    say result installed
}

# install_conf writes helper.conf if the settings differ from the defaults. It keeps an
# existing file.
install_conf() {
    read_conf
    case $conf_unit:$conf_config:$conf_log:$NL$conf_paths$NL in
    "$unit:$config:$log:$NL"*"${asked:+$NL}$asked$NL"*) return ;;
    esac
    if [ -e "$ROOT$helper_conf" ]; then
        say note "$helper_conf on the host is kept; it differs from the inventory"
        return
    fi
    make_folder "${helper_conf%/*}"
    put_file "$ROOT$helper_conf" 644 "unit=$unit${NL}config=$config${NL}log=$log${asked:+${NL}path=}$asked" || refuse disk "cannot write $helper_conf"
    say note "$helper_conf is written: the helper works only for these agent settings"
}

# make_folder PATH creates it; only root may be able to write it and the folders of its
# path.
make_folder() {
    (umask 022 && mkdir -p -- "$ROOT$1") 2>/dev/null || refuse disk "cannot create $1"
    path=$1/x
    { stat_path && trusted_path; } || refuse configuration "non-root users can write the folder ${unsafe:-$1}"
}

# put_file FILE MODE TEXT writes it by one rename, after it is on disk.
put_file() {
    read -r random </proc/sys/kernel/random/uuid
    tmp=${1%/*}/.aoifleet-$random
    (set -C && printf '%s\n' "$3" >"$tmp") 2>/dev/null && chmod "$2" -- "$tmp" && chown "$me:$(id -g)" -- "$tmp" &&
        sync -- "$tmp" && mv -T -- "$tmp" "$1" && tmp='' && sync -- "${1%/*}" && label "$1" && return
    rm -f -- ${tmp:+"$tmp"}
    return 1
}

# label sets the label of the SELinux policy, if there is one.
label() { ! command -v restorecon >/dev/null || restorecon -- "$1" 2>/dev/null || :; }
