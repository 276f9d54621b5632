
# --- inspect: the agent's secrets, host keys and firewall; changes nothing ---
#
# The paths are in the agent's configuration, which its user may be able to write. So root
# uses none of them: all is done as the user of the unit, who is to read these files.
# Whoever controls that user can fake the answers, which are only shown.

# inspect answers the questions in $ask, secret PATH and known NAME FILE, by their number,
# all at once; and with $port, whether the firewall admits it.
inspect() {
    unit_state
    if unit_user; then
        set -f
        IFS=$NL
        # shellcheck disable=SC2086 # one question a line
        set -- $ask
        unset IFS
        set +f
        # The salt is in no argument: ps(1) shows them.
        within=12
        said=$(printf '%s\n' "$salt" | without_rights "$as_user" "$as_group" sh -c "$answers" "$ROOT" "$@" 2>/dev/null | timeout -k 2 16 head -c 400000 | tr -d '\000')
        say_lines agent "$said"
    else
        say no_user "${why#* }"
    fi
    [ -z "$port" ] || firewall
    say inspected yes
}

# answers is the program of the agent's user. Of a secret it prints the kind of the file,
# the kinds of whitespace at its beginning and end (as examine_file), a digest with a salt
# that only this run has, and the attributes; never a byte.
# shellcheck disable=SC2016 # for the other shell
answers='
IFS= read -r salt
printf "user %s\n" "$(id -un)"
secret() {
    kind=missing form=. digest=-
    if [ -f "$2" ]; then
        kind=file
        [ -r "$2" ] || kind=denied
    elif [ -e "$2" ]; then kind=other
    elif [ ! -d "${2%/*}" ]; then kind=nodir
    elif [ ! -x "${2%/*}" ]; then kind=denied
    else
        for other in "$2".*; do [ ! -f "$other" ] || kind=extension; done
    fi
    if [ "$kind" = file ]; then
        form=$(bytes "$2" | head -c 1 | white).$(bytes "$2" | tail -c 1 | white)
        [ "$(bytes "$2" | head -c 3 | od -An -tx1)" != " ef bb bf" ] || form=B$form
        digest=$({ printf %s "$salt"; bytes "$2"; } | sha256sum | head -c 8)
    fi
    printf "secret %s %s %s %s %s\n" "$1" "$kind" "$form" "$digest" "$(stat -L -c "%a %s %Y %U" -- "$2" 2>/dev/null)"
}
bytes() { dd if="$1" bs=65537 count=1 iflag=nonblock,fullblock status=none 2>/dev/null; }
white() { tr -dc " \t\r\n" | tr " \t\r\n" STRN; }
known() {
    if ! command -v ssh-keygen >/dev/null; then printf "known %s no_program\n" "$1"; return; fi
    if [ ! -e "$3" ]; then printf "known %s missing\n" "$1"; return; fi
    { timeout 8 ssh-keygen -F "$2" -f "$3" </dev/null 2>/dev/null; printf "exit %s\n" $?; } | grep -v "^#" | tail -n 20 | cut -b 1-4000 |
        while IFS= read -r line; do printf "known %s %s\n" "$1" "$line"; done
}
n=0
for ask; do
    case $ask in
    "secret "*) secret $n "$0${ask#secret }" & ;;
    "known "*) ask=${ask#known } && known $n "${ask%% *}" "$0${ask#* }" & ;;
    esac
    n=$((n + 1))
done
wait'

# firewall says only what is certain: that no rule of any kind filters what arrives, or the
# zones of firewalld.
firewall() {
    if command -v firewall-cmd >/dev/null && [ "$(timeout 5 firewall-cmd --state 2>/dev/null)" = running ]; then
        say firewall firewalld
        say_lines zone "$(timeout 5 firewall-cmd --list-all-zones 2>/dev/null | head -c 100000)"
    elif ! value=$(timeout 5 nft list chains 2>/dev/null); then
        say firewall unknown
    else
        # The names are there if the old iptables is in use (ip_tables, a module).
        case $value$(cat "$ROOT/proc/net/ip_tables_names" "$ROOT/proc/net/ip6_tables_names" 2>/dev/null) in
        *'hook input'* | *'hook prerouting'* | *'hook ingress'* | *filter* | *raw* | *mangle*) say firewall filtered ;;
        *) say firewall none ;;
        esac
    fi
}
