
# --- package: the agent's package, and the tools that install it ---
#
# The package manager (apt-get, dnf, yum) finds, authenticates and downloads. dpkg(1) or
# rpm(8) installs exactly one file, forward and back, with the same command: they need no
# network, and have no resolver that could change another package.

lock_wait=120 install_time=600 # seconds

# packaged SECONDS COMMAND ... runs it with nothing of this shell's environment, session or
# descriptors: a package's own scripts may leave processes, which must not hold the locks.
# $HOME is root's, because rpm reads macros there.
packaged() {
    set -- -k 30 "$@"
    setsid -w env -i HOME=/root PATH="$PATH" LC_ALL=C DEBIAN_FRONTEND=noninteractive timeout "$@" </dev/null 3<&- 5<&- 6>&- 7>&-
}

# package_version sets $version to the installed version of $package, '' if there is none,
# and $whole to yes if it is completely installed. An interrupted rpm leaves two versions,
# or one with files of another: the first shows here.
package_version() {
    version='' whole=no package_held=''
    if [ "$manager" = apt ]; then
        # shellcheck disable=SC2016 # dpkg's own variables
        value=$(packaged 30 dpkg-query -W -f '${db:Status-Want} ${db:Status-Eflag} ${db:Status-Status} ${Version}\n' "$package" 2>/dev/null | head -c 4000)
        case $value in '' | *' not-installed '* | *' config-files '*) return 0 ;; esac
        case $value in hold*) package_held=yes ;; esac
        case $value in *"$NL"*) ;; *' ok installed '*) whole=yes ;; esac
        version=${value%%"$NL"*} version=${version##* }
    else
        version=$(packaged 30 env HOME=/dev/null rpm -q --qf '%{EVR}\n' "$package" 2>/dev/null | head -c 4000) # Debian's rpm creates a database in $HOME
        case $version in
        'package '*) version='' ;;
        *"$NL"*) version=${version%%"$NL"*} ;;
        ?*) whole=yes ;;
        esac
        # dnf-versionlock(8); yum has the epoch before the name.
        ! grep -q -s -e "^[0-9:]*$package-[0-9]" "$ROOT/etc/dnf/plugins/versionlock.list" "$ROOT/etc/yum/pluginconf.d/versionlock.list" || package_held=yes
    fi
    is_version "$version" || version='' whole=no
}

is_version() { case $1 in '' | [!A-Za-z0-9]* | *[!A-Za-z0-9.+:~^_-]*) return 1 ;; esac; }

# install_package FILE installs this file over whatever is there: a higher, a lower, the
# same or a half installed version. Files that an administrator has changed stay. It fails
# with $why, and $passing=yes if a later try may succeed. rpm counts it as success if a
# script of the package fails at its end: then $complaint has the reason.
#
# Both tools exit at once if another process has their lock (rpm only because its input is
# no terminal), so this waits. A process that is killed while it waits could have begun.
install_package() {
    if [ "$manager" = apt ]; then set -- dpkg --force-confold -i "$1"; else set -- rpm -U --oldpackage --replacepkgs "$1"; fi
    complaint='' tries=0
    now_up
    lock_until=$((up + lock_wait * 100))
    until try_install "$@"; do
        now_up
        [ -n "$busy" ] && [ "$up" -lt "$lock_until" ] || return 1
        sleep 1 6>&- 7>&-
    done
}

# try_install runs it once. $busy is set if a second later may be enough.
try_install() {
    why='' passing='' busy='' tries=$((tries + 1))
    packaged "$install_time" "$@" >"$kept/package.log" 2>&1
    status=$?
    said=$(tail -c 20000 -- "$kept/package.log" 2>/dev/null | tr -d '\000')
    rm -f -- "$kept/package.log"
    case $status:$said in
    0:*'scriptlet failed'*) complaint=$(told 'scriptlet failed'); return 0 ;;
    0:*) return 0 ;;
    124:* | 137:*) why="it took longer than ${install_time}s" ;;
    # dpkg exits with 1 if a script of the package has said so.
    2:*'locked by another process'* | *'create transaction lock'*) busy=yes passing=yes why='another process uses the package manager' ;;
    *'space left'* | *[qQ]uota* | *'ead-only file system'* | *' filesystem'*) passing=yes ;;
    # Its words too need space on the disk.
    "$status:") passing=yes why='the package manager has said nothing, as on a full disk' ;;
    # Names of rpm's temporary files have the second in them: of a killed one's too.
    *'cpio: open failed'*) [ "$tries" -gt 3 ] || busy=yes ;;
    esac
    : "${why:=$(told 'space left' 'returned error' 'scriptlet failed' ' depends on ' ' is needed by ' ' unable to ' ' cannot ' 'rror: ' 'error ')}"
    return 1
}

# told TEXT ... prints the first line of $said with the first text that there is, or the
# last line.
told() {
    for text in "$@" ''; do
        line=$(printf '%s\n' "$said" | grep -F -m 1 -e "$text")
        [ -z "$text" ] || [ -z "$line" ] || break
        line=$(printf '%s\n' "$said" | tail -n 1)
    done
    printf '%.300s' "${line#"${line%%[! "$TAB"]*}"}"
}
