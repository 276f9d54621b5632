
# --- examine: what doctor needs in addition to observe; changes nothing ---

# examine needs none of the tools that it reports as missing.
examine() {
    say clock "$(date +%s.%N 2>/dev/null)"
    incomplete=''
    for tool in $tools; do
        command -v "$tool" >/dev/null || { incomplete=yes; say lacks "$tool"; }
    done
    # Only as_caller needs it.
    [ -z "${SUDO_UID:-}" ] || command -v setpriv >/dev/null || say lacks setpriv
    # Debian has packages of the others too.
    for tool in apt-get dnf yum zypper; do
        ! command -v "$tool" >/dev/null || { say installer "$tool"; break; }
    done
    # The vendor has them installed with the agent.
    for tool in logrotate zip; do
        command -v "$tool" >/dev/null || say without "$tool"
    done
    value=$(stat -f -c '%a %S' -- "$ROOT${log%/*}/" 2>/dev/null) && say log_space "$((${value% *} * ${value#* }))"
    value=$(systemctl --version 2>/dev/null)
    say systemd "${value%%"$NL"*}"
    ! command -v systemd-run >/dev/null || say timer yes
    [ ! -w "$ROOT/etc/systemd/system" ] || say guard yes
    unit_state
    say wanted "$wanted"
    if [ -f "$ROOT$log" ]; then say log file; elif [ -e "$ROOT$log" ]; then say log other; else say log missing; fi
    ! command -v openssl >/dev/null || say openssl yes
    # proc_sys_fs(5)
    for kind in hardlinks symlinks; do
        value=''
        { read -r value <"$ROOT/proc/sys/fs/protected_$kind"; } 2>/dev/null
        say "protected_$kind" "$value"
    done
    [ -n "$incomplete" ] || examine_files
    say examined yes
}

examine_files() {
    find_log
    [ -z "$log_unsafe" ] || say log_unsafe "$log_unsafe"
    observe_config >/dev/null
    only_allowed
    each_path examine_file
}

# examine_file prints the form of a certificate file. Of the bytes that are not base64 it
# prints only the kind: N(ewline), R(eturn), S(pace), T(ab), B(yte order mark), X.
examine_file() {
    stat_path
    [ "$kind" = file ] || return 0
    say form "$path"
    # shellcheck disable=SC2020 # three bytes, one letter
    say strange "$(contents "$place" "$leaf" | tr -d 'A-Za-z0-9+/=' | tr '\n\r \t\357\273\277' 'NRSTBBB' | tr -c 'NRSTB' X | head -c 64)"
    [ -n "$(contents "$place" "$leaf" "$((size_of_file - 1))" 1 | tr '\000' X)" ] || say newline_ends yes
    ! command -v openssl >/dev/null || say opens "$(opens)"
}

# opens prints whether OpenSSL 3, which the agent includes, opens the file as it is: yes,
# legacy (RC2, RC4 and DES are in its legacy provider, openssl-pkcs12(1)) or no. An older
# openssl opens them all, but names the algorithms.
opens() {
    for legacy in '' -legacy; do
        # shellcheck disable=SC2086 # no argument when empty
        value=$(contents "$place" "$leaf" | tr -dc 'A-Za-z0-9+/=' | base64 -d 2>/dev/null |
            timeout 10 openssl pkcs12 -info -noout -passin pass: $legacy 2>&1) || continue
        case $legacy$value in
        -legacy* | *RC2* | *RC4* | *AndDES*) printf legacy ;;
        *) printf yes ;;
        esac
        return
    done
    printf no
}
