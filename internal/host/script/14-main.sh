
begin() { tmp='' now_boot='' kept='' made='' mine='' claimed='' ticking='' log_at='' log_is='' log_state='' mark_size='' mark_time='' known='' within='' halted='' stays='' intruder='' class='' seen_expect='' log_real='' config_real='' config_folders='' ours='' file_known='' guarded='' here='' touched=''; }

helper='' # its version, in the installed script

# main runs one verb. One shell runs several calls; each verb runs in a subshell, except
# observe, which changes nothing and keeps its results for the next call.
main() {
    begin
    read_values || { say error 'internal the values are incomplete or invalid'; return 65; }
    state=$ROOT/var/lib/aoifleet/$unit
    [ "$shown_of" = "$unit" ] || aliases=''
    case $verb in
    observe) run_verb </dev/null ;;
    *) (run_verb) </dev/null ;;
    esac
}

run_verb() {
    case $unit in '' | .* | *[!A-Za-z0-9:_.@\\-]*) refuse internal 'not a unit name' ;; esac
    case $run$saved in .* | *[!A-Za-z0-9-]*) refuse internal 'not a run id' ;; esac
    [ "$files" -le 16 ] || refuse configuration 'a change has at most 16 files'
    each_file check_values_of_file
    use_file 1
    # bash would run a command in the subscript of an arithmetic operand.
    case $what in *[!a-z]*) refuse internal 'not a word' ;; esac
    case $size:$window:$timeout:$proof_timeout:$port:$new_port:$hold:$keep:$max_age:$diagnostics in *[!0-9:]*) refuse internal 'not a number' ;; esac
    case $require in '' | uploaded | log_clean) ;; *) refuse internal 'not a proof' ;; esac
    case $verb in versions | fetch | upgrade | latest) ;; *) [ -z "$package" ] || refuse internal 'a package' ;; esac
    [ "$verb" = observe ] || check_start
    [ "$verb" = examine ] || check_tools
    [ -O "$ROOT/proc" ] || refuse sudo 'the host does not run the script as root; does a start-up file of the login shell run another shell?'
    case $verb in
    makefolder | versions | fetch | upgrade) [ -z "$helper" ] || refuse configuration 'the helper changes only the certificate' ;;
    observe | examine | latest | stage | discard | rotate | rehearse | recover | prune | diagnose) ;;
    # With a salt of its choice a caller could guess passwords.
    inspect) [ -z "$helper" ] || refuse configuration 'the helper looks at no secrets' ;;
    install) [ -z "$helper" ] || refuse sudo 'the helper does not install itself' ;;
    *) refuse internal 'unknown verb' ;;
    esac
    [ -z "$helper" ] || confine
    "$verb"
}

# check_start refuses a shell that starts no program, as with noexec in sudoers(5): every check
# would fail for an untrue reason. It checks once for each shell; observe only if it can't
# read the clock, because a process more on each host is not free.
programs_start=''
check_start() {
    [ -z "$programs_start" ] || return 0
    value=$(cat </dev/null 2>&1)
    [ $? -ne 126 ] || refuse sudo "the shell of sudo can't start programs: ${value%%"$NL"*}"
    programs_start=yes
}

# check_tools refuses a host on which a tool is missing; it checks once for each shell.
tools_found=''
tools='awk base64 cat chmod chown cp cut date dd env find flock grep head id ln ls mkdir mv readlink rm rmdir sed setsid sha256sum sleep stat sync systemctl tail timeout tr'
check_tools() {
    [ -z "$tools_found" ] || return 0
    # shellcheck disable=SC2086 # one word each
    need $tools
    tools_found=yes
}
