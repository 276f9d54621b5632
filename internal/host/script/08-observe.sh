
# --- observe: changes nothing, not even a temporary file ---

observe() {
    both_clocks
    say uptime "$((up / 100)).$((up / 10 % 10))$((up % 10))"
    say clock "${now%??}.${now#"${now%??}"}"
    which_machine
    shown_of=''
    own_name
    say_lines unit "$shown"
    find_log
    log_kind='' has_listener=''
    observe_config
    observe_health
    only_allowed
    each_path observe_certificate
    observe_log
    observe_state
    value=$(stat -f -c '%a %S' -- "$ROOT/var/lib") || value='0 0'
    say space "$((${value% *} * ${value#* }))"
    say observed yes
}

# which_machine tells one machine under two names from two. A clone may have the
# machine id of another (machine-id(5)), but not its boot's.
which_machine() {
    value='' boot=''
    [ ! -f "$ROOT/etc/machine-id" ] || read -r value <"$ROOT/etc/machine-id"
    read -r boot <"$ROOT/proc/sys/kernel/random/boot_id"
    printf 'machine=%.40s %.40s\n' "$value" "$boot"
}

# observe_config sends the agent's configuration to the workstation, which reads it
# as YAML; here only the values of cert_path are picked out, so that one look at
# the host is enough.
observe_config() {
    paths=$path count=0 named_here=0
    find_config || { say config_unsafe "$unsafe"; return; }
    if [ ! -f "$ROOT$config_real" ]; then say config_missing "$config"; return; fi
    read_config
    set -f
    IFS=$NL
    for line in $text; do
        count=$((count + 1))
        [ $count -le 4000 ] || { say config_cut yes; break; }
        printf '%s\n' "$line"
        # No path is as long, and a shell takes very long to match what is.
        [ "${#line}" -le 4096 ] || continue
        case $line in *mcc_edrs*) has_listener=yes ;; esac
        [ "$named_here" -lt 20 ] || continue
        case $line in *'#'*cert_path:* | *[A-Za-z0-9_]cert_path:*) continue ;; *cert_path:*) ;; *) continue ;; esac
        value=${line#*cert_path:}
        value=${value#"${value%%[! "$TAB"]*}"}
        case $value in
        \"*) value=${value#\"} value=${value%%\"*} ;;
        \'*) value=${value#\'} value=${value%%\'*} ;;
        *) value=${value%%[,\}]*} value=${value%% #*} value=${value%"${value##*[! "$TAB"]}"} ;;
        esac
        case $NL$paths$NL in *"$NL$value$NL"*) continue ;; esac
        case $value in /*) paths=$paths$NL$value named_here=$((named_here + 1)) ;; esac
    done
    unset IFS
    set +f
}

# find_config resolves the path of the configuration; 1 where a link on it may not be
# followed.
find_config() {
    config_real='' config_folders=''
    walk "$config" || return 0
    followed || return
    config_real=$walked
    # Marked by a dot, as the certificate's folders are others.
    rest=$folders
    while [ -n "$rest" ]; do
        config_folders=$config_folders${rest%%"$NL"*}.$NL
        rest=${rest#*"$NL"}
    done
}

# read_config leaves the configuration in $text, as it is sent.
read_config() { text=$(contents "$ROOT${config_real%/*}" "${config_real##*/}" | sed 's/^/config=/;4001q'); }

observe_certificate() {
    say certificate "$path"
    look_at_file
    say kind "$kind"
    say real "$real"
    case $kind in file | missing) ;; *) return ;; esac
    say folder "$here"
    [ -z "$guarded" ] || say guarded yes
    settled_config
    safe_path || say "${untrusted:+untrusted}${unsafe:+unsafe}" "$untrusted$unsafe"
    [ -w "$ROOT${real%/*}" ] || say readonly "${real%/*}"
    [ "$kind" = file ] || return 0
    digest_of_live
    say attributes "$attributes"
    say digest "$live"
    was_new='' was_about=''
    [ ! -f "$state/confirmed" ] || of_receipt "$state/confirmed" about
    if [ "$was_new" = "$live" ] && [ -n "$was_about" ]; then say about "$was_about"; return; fi
    if ! command -v openssl >/dev/null; then say no_openssl yes; return; fi
    public_certificate contents "$place" "$leaf"
    say_lines pem "$pem"
}

say_lines() {
    set -f
    IFS=$NL
    for line in $2; do say "$1" "$line"; done
    unset IFS
    set +f
}

# each_path FUNCTION calls it for each of $paths, in $path.
each_path() {
    set -f
    IFS=$NL
    # shellcheck disable=SC2086 # one path a line
    set -- "$1" $paths
    unset IFS
    set +f
    todo=$1
    shift
    for path; do "$todo"; done
}

# settled_config tells which configuration file was read a moment ago: known by its
# inode, where that had not changed for a while before.
settled_config() {
    changed=${config_state##*:} changed=${changed%.*}
    [ -z "$changed" ] || [ "$changed" -ge "$((now / 100 - 2))" ] || say settings "$config_state"
}

# public_certificate COMMAND, which prints the file: -nokeys, so that the private key
# never leaves the host. -legacy is what OpenSSL 3 needs for RC2-40; older ones do
# not know it.
public_certificate() {
    for legacy in '' -legacy; do
        # shellcheck disable=SC2086 # no argument when empty
        pem=$("$@" 2>/dev/null | base64 -d 2>/dev/null |
            timeout 10 openssl pkcs12 -nokeys -passin pass: $legacy 2>/dev/null)
        case $pem in *CERTIFICATE*) return ;; esac
    done
    pem=''
}

# observe_log tells whether the agent has been refused lately.
observe_log() {
    [ -n "$log_kind" ] || look_at_files
    [ "$log_kind" = file ] || say log_missing "$log"
    log_before
    value=''
    [ -z "$before" ] || value=$(denied_lately | tail -n 1)
    [ -z "$value" ] || say denied "$value"
}

# observe_state tells of the tool's own traces: receipts, backups, leftovers.
observe_state() {
    read -r boot <"$ROOT/proc/sys/kernel/random/boot_id"
    in_each observe_folder
}

observe_folder() {
    for value in pending undoing confirmed rolled-back failed; do
        [ -f "$state/$value" ] || continue
        of_receipt "$state/$value"
        say receipt "$value run=$of owner=$who"
        case $value in pending | undoing) ;; *) continue ;; esac
        kept=$state/backups/$of
        ! alive "$kept" || say receipt_alive yes
        # A boot has ended the timer, and uptime began anew.
        [ "$was_boot" = "$boot" ] || continue
        seconds_left "$kept"
        [ -n "$left" ] || continue
        say receipt_left "$left"
        if [ -f "$kept/host.sh" ]; then say receipt_armed yes; else say receipt_armed no; fi
        [ "$left" -gt 0 ] || ! alive "$kept" || say receipt_pid "$worker"
    done
    for kept in "$state"/backups/*; do
        ! is_backup || say backup "$of $was_live $was_new"
    done
    kept=$state/backups/$run
    ! alive "$kept" || say at_work yes
    for value in "$state"/staged-* "$state"/diags-* "$ROOT/var/lib/aoifleet-diags-$unit-"* .aoifleet-*; do
        [ -e "$value" ] || continue
        timeout 5 find "$state" . "$ROOT/var/lib/aoifleet-diags-$unit-"* -maxdepth 1 \( -name 'staged-*' -mmin +1440 -o -name '.aoifleet-*' -mmin +60 -o -name 'diags-*' -mmin +60 -o -name 'aoifleet-diags-*' -mmin +60 \) 2>/dev/null |
            head -n 100 | while IFS= read -r value; do say leftover "${value##*/}"; done
        break
    done
    this=$run
    for value in "$state"/backups/*/host.sh; do
        kept=${value%/*} run=${kept##*/}
        [ ! -f "$value" ] || goes_on || say leftover "dead-man switch of run $run"
    done
    run=$this
    [ -n "$saved" ] && [ -f "$state/backups/$saved/certificate" ] || return 0
    public_certificate head -c 262144 -- "$state/backups/$saved/certificate"
    say_lines saved_pem "$pem"
}

# is_backup: is there something in $kept to go back to?
is_backup() {
    [ -f "$kept/receipt" ] || return
    of_receipt "$kept/receipt"
    [ -f "$kept/certificate" ] || [ "$was_live" = none ]
}

# of_receipt FILE [about] reads what a receipt says of itself, which is what it
# begins with, and what it says about the new certificate.
of_receipt() {
    of='' who='' was_live='' was_new='' was_boot='' was_about=''
    while IFS= read -r line; do
        case $line in
        run=*) of=${line#*=} ;;
        owner=*) who=${line#*=} ;;
        old=*) was_live=${line#*=} ;;
        new=*) was_new=${line#*=} ;;
        boot=*)
            was_boot=${line#*=}
            [ -n "${2:-}" ] || break
            ;;
        about=*) was_about=${line#*=}; break ;;
        deny=* | before=* | end) break ;;
        esac
    done <"$1"
}
