
begin() { tmp='' kept='' made='' mine='' claimed='' ticking='' armed='' log_at='' mark_size='' mark_time='' known='' within=''; }

main() {
    begin
    read_values || { say error 'internal the values were cut short'; exit 65; }
    exec </dev/null
    state=$ROOT/var/lib/aoifleet/$unit
    case $unit in '' | .* | *[!A-Za-z0-9:_.@\\-]*) refuse internal 'not a unit name' ;; esac
    case $run$saved in .* | *[!A-Za-z0-9-]*) refuse internal 'not a run id' ;; esac
    # bash would run what it finds in the subscript of an arithmetic operand.
    case $size:$window:$timeout:$port:$hold:$keep:$max_age:$diagnostics in *[!0-9:]*) refuse internal 'not a number' ;; esac
    tools='awk base64 cat chmod chown cksum cp cut date dd find flock grep head id ln ls mkdir mv readlink rm sed sha256sum sleep stat sync systemctl tail timeout tr'
    # shellcheck disable=SC2086 # one word each
    [ "$verb" = examine ] || need $tools
    [ -O "$ROOT/proc" ] || refuse sudo 'the host runs the script as somebody else than root; does a start-up file of the login shell run another shell?'
    case $verb in
    observe | examine | stage | discard | rotate | recover | prune | diagnose) ;;
    install) [ -z "$helper" ] || refuse sudo 'the helper does not install itself' ;;
    *) refuse internal 'unknown verb' ;;
    esac
    [ -z "$helper" ] || confine
    "$verb"
    exit 0
}
