
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
    need awk base64 cat chmod chown cksum cp cut date dd find flock grep head id ln ls mkdir mv readlink rm sed sha256sum sleep stat sync systemctl tail timeout tr
    case $verb in
    observe | stage | discard | rotate | recover | prune | diagnose) "$verb" ;;
    *) refuse internal 'unknown verb' ;;
    esac
    exit 0
}
