
# --- latest: what status shows in addition to observe; changes nothing ---

# latest prints the version of the agent's package, which its package manager knows, and the
# time and number of the last upload, if the end of the log has one.
latest() {
    case ${package:=az-aoi-ingestion} in [!a-z0-9]* | *[!a-z0-9+.-]*) refuse internal 'not a package' ;; esac
    # A host may have both programs. rpm runs what macros in $HOME say, and sudo may keep that;
    # Debian's creates a database there if it has none.
    # shellcheck disable=SC2016 # for dpkg-query
    value=$(timeout 5 dpkg-query -W -f '${Version}' "$package" 2>/dev/null) ||
        value=$(HOME=/dev/null timeout 5 rpm -q --qf '%{VERSION}-%{RELEASE}' "$package" 2>/dev/null) || value=''
    say package "$value"
    find_log
    stat_all
    [ "$log_kind" != file ] || say uploaded "$(log_tail 262144 | last_upload)"
    say latest yes
}

# last_upload prints TIME NUMBER of the last run on stdin that has uploaded something.
last_upload() {
    exec awk "$for_awk$run_stats"'
        { $0 = bare($0) }
        is_stats() && stat("successful_uploads") > 0 { last = sprintf("%s %.0f", substr($0, 1, index($0, "Z")), stat("successful_uploads")) }
        END { print last }'
}
