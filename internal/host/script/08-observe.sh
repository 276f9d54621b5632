
# --- observe: changes nothing, not even a temporary file ---

observe() {
    both_clocks
    [ -n "$now" ] || check_start
    programs_start=yes
    say uptime "$((up / 100)).$((up / 10 % 10))$((up % 10))"
    say clock "${now%??}.${now#"${now%??}"}"
    observe_machine
    shown_of=''
    use_own_name
    say_lines unit "$shown"
    find_log
    log_kind='' has_listener=''
    observe_config
    observe_health
    only_allowed
    each_path observe_certificate
    # In a subshell, because the look at the log uses the facts of the certificate.
    [ "$configuration" = no ] || (observe_configuration)
    [ -z "$also" ] || (observe_others)
    observe_log
    observe_state
    value=$(stat -f -c '%a %S' -- "$ROOT/var/lib") || value='0 0'
    say space "$((${value% *} * ${value#* }))"
    say observed yes
}

# observe_machine prints the ids that identify the machine under any name. A clone may
# have the same machine id (machine-id(5)), but not the same boot id.
observe_machine() {
    value='' boot=''
    [ ! -f "$ROOT/etc/machine-id" ] || read -r value <"$ROOT/etc/machine-id"
    read -r boot <"$ROOT/proc/sys/kernel/random/boot_id"
    printf 'machine=%.40s %.40s\n' "$value" "$boot"
}

# observe_config prints the agent's configuration, which the workstation parses as YAML, or
# only its digest if observe_configuration prints the bytes. The script only looks for paths
# that one line states clearly, so that one call is enough.
observe_config() {
    paths=$path count=0 named_here=0
    find_config || { say config_unsafe "$unsafe"; return; }
    if [ ! -f "$ROOT$config_real" ]; then say config_missing "$config"; return; fi
    read_config
    [ "$configuration" = no ] || { digest_of_config && say configured "$sum"; }
    set -f
    IFS=$NL
    for line in $text; do
        count=$((count + 1))
        [ $count -le 4000 ] || { say config_cut yes; break; }
        [ "$configuration" != no ] || printf '%s\n' "$line"
        # No path is longer, and pattern matching in a shell is slow.
        [ "${#line}" -le 4096 ] || continue
        case $line in *mcc_edrs*) has_listener=yes ;; esac
        case $line in *'#'*cert_path*) ;; *cert_path*) named_in "${line#config=}" ;; esac
    done
    unset IFS
    set +f
}

# named_in LINE adds the values of cert_path in it to $paths. It leaves out a value that
# YAML may read in another way: one with an escape, or with a bracket or comma that may
# belong to a flow mapping of several lines. Then the workstation calls again with the path.
named_in() {
    after=$1 flow=''
    while [ "$named_here" -lt 20 ]; do
        lead=${after%%cert_path*}
        [ "$lead" != "$after" ] || return 0
        after=${after#*cert_path} after=${after#[\"\']}
        case $lead in *'{'*) flow=yes ;; esac
        case $lead in *[!"$TAB {,"\"\']) continue ;; esac
        value=${after#"${after%%[!" $TAB"]*}"}
        case $value in :*) value=${value#:} ;; *) continue ;; esac
        value=${value#"${value%%[!" $TAB"]*}"}
        case $value in
        \'*\'\'*) continue ;;
        \'*\'*) value=${value#\'} value=${value%%\'*} ;;
        \"*\"*) value=${value#\"} value=${value%%\"*} ;;
        *)
            value=${value%%[" $TAB"]'#'*}
            [ -z "$flow" ] || value=${value%%[],\{\}[]*}
            # With CRLF line ends the last byte is a return.
            value=${value%"${value##*[![:space:]]}"}
            case $value in *[],\"\'\{\}[]*) continue ;; esac
            ;;
        esac
        case $value in *\\* | *[[:cntrl:]]*) continue ;; esac
        case $NL$paths$NL in *"$NL$value$NL"*) continue ;; esac
        case $value in /*) paths=$paths$NL$value named_here=$((named_here + 1)) ;; esac
    done
}

# find_config resolves the path of the configuration; it returns 1 if root may not follow
# a link in it.
find_config() {
    config_real='' config_folders=''
    walk "$config" || return 0
    links_safe || return
    config_real=$walked
    # A dot distinguishes them from the certificate's folders.
    rest=$folders
    while [ -n "$rest" ]; do
        config_folders=$config_folders${rest%%"$NL"*}.$NL
        rest=${rest#*"$NL"}
    done
}

# read_config sets $text to the configuration, in the form in which it is sent. bash complains
# about NUL bytes.
read_config() { { text=$(contents "$ROOT${config_real%/*}" "${config_real##*/}" | sed 's/^/config=/;4001q'); } 2>/dev/null; }

# digest_of_config sets $sum to the digest of $text, which read_config has set.
digest_of_config() {
    sum=$(printf '%s' "${text:+$text$NL}" | sha256sum)
    sum=${sum%% *}
}

# observe_configuration prints the agent's configuration as a file that may be changed: its
# facts and its exact bytes. The digest is of another read: if it differs, the file was
# changed meanwhile. The path is root's own or the inventory's.
observe_configuration() {
    say configuration "$config"
    path=$config by_inventory=yes
    stat_path
    # Only find_config has checked the links.
    [ "$real" = "$config_real" ] || kind=moved
    say_file && [ "$live" != large ] || return 0
    contents "$place" "$leaf" | base64 -w 8000 | sed 's/^/content=/'
}

# observe_others prints the facts of further files, which the agent's configuration names, and
# with $whole their exact bytes.
observe_others() {
    paths=$also by_inventory=no
    each_path observe_other
}

observe_other() {
    say other "$path"
    stat_path
    if say_file; then
        # Whoever can write the configuration must not choose which of root's files are sent.
        [ "$whole:$untrusted$unsafe" != yes: ] || [ "$live" = large ] || contents "$place" "$leaf" | base64 -w 8000 | sed 's/^/content=/'
    elif [ "$kind" = nodir ] && may_make_folder; then
        say makes yes
    fi
}

# may_make_folder reports whether root may create the folder of $path for the agent's user: only
# it is missing, and root alone can write the folders above it and the configuration that names
# it. Elsewhere a folder of that user may give rights, as a unit's drop-ins do.
may_make_folder() {
    in_it=$path path=${path%/*}
    [ -n "$path" ] && stat_path && [ "$kind:$guarded$config_open" = missing: ]
    set -- $?
    path=$in_it
    return "$1"
}

observe_certificate() {
    say certificate "$path"
    stat_path
    say_file || return 0
    was_new='' was_about=''
    [ ! -f "$state/confirmed" ] || read_receipt "$state/confirmed" about
    if [ "$was_new" = "$live" ] && [ -n "$was_about" ]; then say about "$was_about"; return; fi
    if ! command -v openssl >/dev/null; then say no_openssl yes; return; fi
    public_certificate contents "$place" "$leaf"
    say_lines pem "$pem"
}

# say_file prints the facts of stat_path and the digest; it fails if there is no file.
say_file() {
    say kind "$kind"
    say real "$real"
    case $kind in file | missing) ;; *) return 1 ;; esac
    say folder "$here"
    [ -z "$guarded" ] || say guarded yes
    observe_settings
    safe_path || say "${untrusted:+untrusted}${unsafe:+unsafe}" "$untrusted$unsafe"
    [ -w "$ROOT${real%/*}" ] || say readonly "${real%/*}"
    [ "$kind" = file ] || return 1
    digest_of_live
    say attributes "$attributes"
    say digest "$live"
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

# only_allowed limits $paths to those that may be read.
only_allowed() { [ -z "$helper" ] || paths=$allowed; }

# observe_settings prints the inode of the configuration file that was just read, if it
# had not changed for two seconds before.
observe_settings() {
    changed=${config_state##*:} changed=${changed%.*}
    [ -z "$changed" ] || [ "$changed" -ge "$((now / 100 - 2))" ] || say settings "$config_state"
}

# public_certificate COMMAND sets $pem to the certificate in the file that COMMAND
# prints. With -nokeys the private key never leaves the host. OpenSSL 3 needs -legacy for
# RC2-40; older ones do not know the option.
public_certificate() {
    for legacy in '' -legacy; do
        # shellcheck disable=SC2086 # no argument when empty
        pem=$("$@" 2>/dev/null | base64 -d 2>/dev/null |
            timeout 10 openssl pkcs12 -nokeys -passin pass: $legacy 2>/dev/null)
        case $pem in *CERTIFICATE*) return ;; esac
    done
    pem=''
}

# observe_log prints the last recent denied line.
observe_log() {
    [ -n "$log_kind" ] || stat_all
    [ "$log_kind" = file ] || say log_missing "$log"
    log_before
    value=''
    [ -z "$before" ] || value=$(denied_lately | tail -n 1)
    [ -z "$value" ] || say denied "$value"
}

# observe_state prints the tool's own files: receipts, backups, leftovers.
observe_state() {
    read -r boot <"$ROOT/proc/sys/kernel/random/boot_id"
    in_each observe_folder
}

observe_folder() {
    for value in pending undoing confirmed rolled-back failed; do
        [ -f "$state/$value" ] || continue
        read_receipt "$state/$value"
        say receipt "$value run=$its_run owner=$its_owner"
        case $value in pending | undoing) ;; *) continue ;; esac
        kept=$state/backups/$its_run
        ! alive "$kept" || say receipt_alive yes
        # After a reboot the timer is gone, and uptime has restarted.
        [ "$was_boot" = "$boot" ] || continue
        seconds_left "$kept"
        [ -n "$left" ] || continue
        say receipt_left "$left"
        if [ -f "$kept/host.sh" ]; then say receipt_armed yes; else say receipt_armed no; fi
        [ "$left" -gt 0 ] || ! alive "$kept" || say receipt_pid "$worker"
    done
    for kept in "$state"/backups/*; do
        # The digest of a secret is not for the helper's login user.
        is_backup || continue
        [ -z "$was_what" ] || [ -z "$helper" ] || continue
        [ -z "$was_what" ] || was_files="${was_files:-1} $was_what"
        say backup "$its_run $was_live $was_new${was_files:+ $was_files}"
    done
    kept=$state/backups/$run
    ! alive "$kept" || say at_work yes
    for value in "$state"/staged-* "$state"/rehears* "$state"/diags-* "$ROOT/var/lib/aoifleet-diags-$unit-"* .aoifleet-*; do
        [ -e "$value" ] || continue
        timeout 5 find "$state" . "$ROOT/var/lib/aoifleet-diags-$unit-"* -maxdepth 1 \( -name 'staged-*' -mmin +1440 -o -name '.aoifleet-*' -mmin +60 -o -name 'diags-*' -mmin +60 -o -name 'rehears*' -mmin +60 -o -name 'aoifleet-diags-*' -mmin +60 \) 2>/dev/null |
            head -n 100 | while IFS= read -r value; do say leftover "${value##*/}"; done
        break
    done
    this=$run
    for value in "$state"/backups/*/host.sh; do
        kept=${value%/*} run=${kept##*/}
        # Unlike unfinished it keeps no lock: this shell lives on.
        [ ! -f "$value" ] || has_state pending || has_state undoing || alive "$kept" || say leftover "dead-man switch of run $run"
    done
    run=$this
    [ -n "$saved" ] && [ -f "$state/backups/$saved/receipt" ] || return 0
    read_receipt "$state/backups/$saved/receipt"
    [ -n "$helper" ] || [ -z "$was_files$was_what" ] || (observe_saved)
    [ -f "$state/backups/$saved/certificate" ] || return 0
    public_certificate head -c 262144 -- "$state/backups/$saved/certificate"
    say_lines saved_pem "$pem"
}

# observe_saved prints the files that the run $saved has changed, if it was not only the
# certificate: as they were, and the facts of what is there now. The paths are root's own. Of the agent's configuration it prints the saved
# bytes too.
observe_saved() {
    number='' by_inventory=yes kept=$state/backups/$saved its_path='' its_package=''
    while IFS= read -r line; do
        case $line in
        'file=0') break ;;
        file=*)
            next=.${line#*=}
            saved_file
            number=$next
            ;;
        path=*) its_path=${line#*=} ;;
        real=*) its_real=${line#*=} ;;
        old=*) was_live=${line#*=} ;;
        new=*) was_new=${line#*=} ;;
        package=* | manager=* | version_*=* | package_*=*) its_package="$its_package ${line#*=}" ;;
        deny=* | before=* | end) break ;;
        esac
    done <"$kept/receipt"
    saved_file
    [ -z "$its_package" ] || say saved_package "${its_package# }"
}

saved_file() {
    [ -n "$its_path" ] || return 0
    say saved_file "$its_path"
    say saved_real "$its_real"
    say saved_old "$was_live"
    say saved_new "$was_new"
    [ ! -f "$kept/certificate$number" ] || say saved_attributes "$(stat -c %U:%G:%a -- "$kept/certificate$number")"
    path=$its_path
    stat_path
    say_file || :
    [ "$its_real" != "$config_real" ] || [ ! -f "$kept/certificate$number" ] || head -c 1048577 -- "$kept/certificate$number" | base64 -w 8000 | sed 's/^/content=/'
}

# is_backup reports whether $kept has a state to restore.
is_backup() {
    [ -f "$kept/receipt" ] || return
    read_receipt "$kept/receipt"
    [ -f "$kept/certificate" ] || [ "$was_live" = none ]
}

# read_receipt FILE [about] reads the first keys of a receipt, up to boot, or up to about,
# which describes the new certificate.
read_receipt() {
    its_run='' its_owner='' was_live='' was_new='' was_boot='' was_about='' was_files='' was_what=''
    while IFS= read -r line; do
        case $line in
        run=*) its_run=${line#*=} ;;
        owner=*) its_owner=${line#*=} ;;
        old=*) was_live=${line#*=} ;;
        new=*) was_new=${line#*=} ;;
        files=*) was_files=${line#*=} ;;
        what=*) was_what=${line#*=} ;;
        boot=*)
            was_boot=${line#*=}
            [ -n "${2:-}" ] || break
            ;;
        about=*) was_about=${line#*=}; break ;;
        deny=* | before=* | end) break ;;
        esac
    done <"$1"
}
