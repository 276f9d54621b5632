
# --- fetch: the versions that there are, and the files of two of them ---

# versions reports which version is installed, and which the host's repositories have.
versions() {
    valid_package
    need sort
    find_manager || refuse configuration 'the host has no package manager that is supported (apt-get, dnf, yum)'
    say manager "$manager"
    say installed "$version"
    installable || say broken "$why"
    [ -z "$package_held" ] || say held yes
    ! owns_unit || say owns_unit yes
    ! is_older || say older yes
    case $refresh:$manager in
    yes:apt) capture 150 apt-get -q update ;;
    yes:yum) capture 60 yum -q clean expire-cache ;;
    esac || say note "cannot refresh the lists of packages: $why"
    list_versions
    say result versions
}

valid_package() { case $package in '' | [!a-z0-9]* | *[!a-z0-9+.-]*) refuse internal 'not a package' ;; esac; }

# find_manager sets $manager to the one that has installed the package, or else to the
# first that there is; and $version.
find_manager() {
    first_manager=''
    for manager in apt dnf yum; do
        case $manager in
        apt) command -v apt-get && command -v dpkg-query ;;
        *) command -v "$manager" && command -v rpm ;;
        esac >/dev/null || continue
        : "${first_manager:=$manager}"
        package_version
        [ -z "$version" ] || return 0
    done
    manager=$first_manager
    [ -n "$manager" ]
}

# installable fails with $why if nothing can be installed now. A simulation of apt-get does
# not notice an interrupted dpkg.
installable() {
    set -- "$ROOT"/var/lib/dpkg/updates/0*
    if [ "$manager" = apt ] && [ -e "$1" ]; then
        why='dpkg is at work, or was interrupted (then: dpkg --configure -a)'
    elif [ -n "$version" ] && [ "$whole" = no ]; then
        why="$package $version is not completely installed"
    else
        return 0
    fi
    return 1
}

# owns_unit reports whether the agent's unit is a file of the package. /lib is a link to
# /usr/lib on many systems.
owns_unit() {
    value=$(systemctl show -p FragmentPath "$unit" 2>/dev/null)
    value=${value#FragmentPath=} value=${value#/usr}
    [ -n "$value" ] || return 1
    if [ "$manager" = apt ]; then capture 30 dpkg-query -L "$package"; else capture 30 rpm -ql "$package"; fi
    case $NL$said$NL in *"$NL$value$NL"* | *"$NL/usr$value$NL"*) ;; *) return 1 ;; esac
}

# is_older reports whether the agent still runs a program that was replaced since it started.
is_older() {
    value=$(systemctl show -p MainPID "$unit" 2>/dev/null)
    case $(readlink -- "$ROOT/proc/${value#MainPID=}/exe" 2>/dev/null) in *' (deleted)') ;; *) return 1 ;; esac
}

# capture SECONDS COMMAND ... sets $said to what it prints, the end of it. If it fails, $why
# has the reason.
capture() {
    said=$({ packaged "$@" 2>&1; printf '\n%s' "$?"; } | tail -c 200000 | tr -d '\000')
    status=${said##*"$NL"} said=${said%"$NL"*} said=${said%"$NL"}
    case $status in
    0) return 0 ;;
    124 | 137) why="$2 took longer than ${1}s" ;;
    *) why=$(told 'E: ' 'rror: ') ;;
    esac
    return 1
}

# list_versions prints each version once, the newest first; dnf sorts them as texts. A
# question of dnf about a repository's key is answered with no. yum breaks long lines.
list_versions() {
    set --
    [ "$refresh" = no ] || set -- --refresh
    case $manager in
    apt) capture 60 apt-cache madison "$package" ;;
    dnf) capture 150 dnf -q "$@" repoquery --showduplicates --qf '%{evr}\n' "$package" ;;
    yum) capture 150 yum -q --showduplicates list available "$package" ;;
    esac || say note "cannot list the versions: $why"
    printf '%s\n' "$said" | case $manager in
    apt) awk -F '|' '{ gsub(/ /, "", $2); print 0, $2 }' ;;
    dnf) awk '{ print index($0, ":") ? $0 + 0 : 0, $0 }' | sort -k 1,1nr -k 2,2Vr ;;
    yum) tr -s ' ' '\n' | awk -v pkg="$package." 'index(last, pkg) == 1 { print index($0, ":") ? $0 + 0 : 0, $0 } { last = $0 }' | sort -k 1,1nr -k 2,2Vr ;;
    esac | cut -d ' ' -f 2- | grep -x '[A-Za-z0-9][A-Za-z0-9.+:~^_-]\{0,99\}' | awk '!seen[$0]++ { print "version=" $0 }' | head -n 100
}

# fetch gets the files of the installed and of the new version, and checks them and what
# their installation would change, so that both need no network later.
fetch() {
    valid_package
    for value in "$version_old" "$version_new"; do is_version "$value" || refuse internal 'not a version'; done
    case $manager in apt | dnf | yum) ;; *) refuse internal 'not a package manager' ;; esac
    make_state || refuse disk "cannot create $state, or root does not own it"
    package_version
    [ "$version" = "$version_old" ] || refuse drift "$package ${version:-of no version} is installed now, not $version_old"
    installable || refuse configuration "$why"
    [ -z "$package_held" ] || refuse configuration "an administrator holds $package at $version"
    find "$state" -maxdepth 1 -name 'fetch-*' -mmin +60 -exec rm -rf -- {} +
    downloads=$state/fetch-$run
    download install "$version_new" || no_fetch configuration "cannot get $package $version_new: $why"
    enough_space
    only_one
    store new
    saved_file_of || download reinstall "$version_old" || cached_file || no_fetch configuration "cannot get $package $version_old, which an undo needs: $why"
    store old
    rm -rf -- "$downloads"
    say result fetched
}

no_fetch() {
    rm -rf -- "$downloads" "$state/staged-$run.old" "$state/staged-$run.new"
    refuse "$@"
}

# download HOW VERSION sets $archive to a file of the version that the manager has downloaded.
# apt checks it against the signed lists of the repository, and needs no user of its own for
# that: none could enter the folder. dnf and yum would import a repository's key if they
# checked it, so rpm does. yum (not tried) downloads a lower version only as a downgrade.
download() {
    { rm -rf -- "$downloads" && mkdir -- "$downloads"; } 2>/dev/null || no_fetch disk "cannot write in $state"
    # shellcheck disable=SC2016 # for the other shell
    if [ "$manager" = apt ]; then
        capture 900 sh -c 'cd "$1" && exec apt-get -q -o APT::Sandbox::User=root download "$2"' sh "$downloads" "$package=$2"
    else
        capture 900 "$manager" -y -q --nogpgcheck --downloadonly --downloaddir="$downloads" "$1" "$package-$2"
    fi || return
    why='the package manager has downloaded no such file'
    if one_of "$2" "$downloads"/*; then return 0; fi
    [ "$manager:$1" = yum:install ] && download downgrade "$2"
}

# one_of VERSION FILE ... sets $archive to the first that is an authentic file of this version.
one_of() {
    its_version=$1
    shift
    for archive; do
        is_package "$archive" "$its_version" && { [ "$manager" = apt ] || is_signed; } && return
    done
    return 1
}

# is_package FILE VERSION also sets $unpacked to the bytes that it needs.
is_package() {
    [ -f "$1" ] || return
    if [ "$manager" = apt ]; then
        # shellcheck disable=SC2016 # dpkg's own variables
        capture 30 dpkg-deb -W --showformat='${Package} ${Version} ${Installed-Size}' "$1"
    else
        capture 30 rpm -qp --nosignature --qf '%{NAME} %{EVR} %{LONGSIZE}' "$1"
    fi || return
    said=${said##*"$NL"} # after warnings
    case $said in "$package $2 "*) ;; *) return 1 ;; esac
    unpacked=${said##* }
    case $unpacked in '' | *[!0-9]* | ?????????????*) unpacked=0 ;; esac
    [ "$manager" != apt ] || unpacked=$((unpacked * 1024))
}

# is_signed reports whether $archive is signed with a key in rpm's database. Without the level
# an unsigned one is good. rpm before 4.14 (not tried) knows no level, and names pgp.
is_signed() {
    capture 120 rpmkeys --define '_pkgverify_level all' -K "$archive"
    # After the file's name, which the repository has chosen.
    said=${said##*"$archive: "}
    case $status:$said in 0:'digests signatures OK'* | 0:*' pgp '*OK*) return 0 ;; esac
    why="it is not signed with a key that rpm on this host trusts (rpmkeys -K: ${said##*: })"
    return 1
}

# saved_file_of takes the file of an earlier run, if it is still the one that its receipt has.
saved_file_of() {
    for saved_one in "$state"/backups/*/package.old "$state"/backups/*/package.new; do
        one_of "$version_old" "$saved_one" || continue
        sum=$(sha256sum <"$archive") sum=${sum%% *}
        ! grep -q -x -e "package_old=$sum" -e "package_new=$sum" -- "${archive%/*}/receipt" || return 0
    done
    return 1
}

# cached_file takes the file from the manager's own cache, which only root can write.
cached_file() {
    first_why=$why
    set -f
    IFS=$NL
    # shellcheck disable=SC2046 # one file a line
    set -- $(find "$ROOT/var/cache/apt/archives" "$ROOT/var/cache/dnf" "$ROOT/var/cache/yum" -name "${package}[_-]*.[dr][ep][bm]" -type f -user "$(id -u)" ! -path '*/partial/*' 2>/dev/null | head -n 100)
    unset IFS
    set +f
    one_of "$version_old" "$@" && return
    why=$first_why
    return 1
}

# enough_space compares with twice what is unpacked: dpkg has both versions on the disk.
enough_space() {
    value=$(stat -f -c '%a %S' -- "$ROOT/usr" 2>/dev/null) || value='0 0'
    value=$((${value% *} * ${value#* }))
    packed=$(stat -c %s -- "$archive")
    [ "$value" -gt $((unpacked + packed * 2 + 1048576)) ] ||
        no_fetch disk "no space for $package $version_new: it needs $(((unpacked + packed * 2) / 1048576 + 1)) MiB, /usr has $((value / 1048576)) MiB"
}

# only_one refuses a version that needs a change of another package, or removes one.
only_one() {
    if [ "$manager" = apt ]; then
        capture 120 apt-get -s -q -y --allow-downgrades --no-install-recommends install "$archive"
    else
        capture 120 rpm -U --test --oldpackage --replacepkgs "$archive"
    fi || why="it can't be installed: $why"
    others=$(printf '%s\n' "$said" | awk -v pkg="$package" '/^(Inst|Remv|Purg) / && ($1 != "Inst" || $2 != pkg) { print $2 } / is needed by | is obsoleted by | conflicts with / { print $1 }')
    [ "$manager" = apt ] || others="$others$NL$(obsoleted)"
    others=$(printf '%s\n' "$others" | grep -v '^$' | head -n 20 | tr '\n' ' ')
    [ -z "$others" ] || no_fetch configuration "$package $version_new needs changes of other packages: ${others% }"
    [ "$status" = 0 ] || no_fetch configuration "$package $version_new: $why"
}

# obsoleted prints the installed packages that rpm would remove with the update.
obsoleted() {
    packaged 30 rpm -qp --nosignature --qf '[%{OBSOLETENAME}\n]' "$archive" 2>/dev/null | grep -x '[A-Za-z0-9][A-Za-z0-9+._-]*' | grep -v -x -F -e "$package" | head -n 50 |
        while IFS= read -r line; do packaged 30 rpm -q --qf '%{NAME}\n' "$line" 2>/dev/null | grep -v ' '; done
}

# store copies $archive to the run's staged files, as the old or the new one.
store() {
    target=$state/staged-$run.$1
    { rm -rf -- "$target" && cp -T -- "$archive" "$target" && chmod 600 -- "$target" && sync -- "$target" "$state"; } 2>/dev/null || no_fetch disk "cannot write in $state"
    sum=$(sha256sum <"$target")
    say "package_$1" "${sum%% *} $(stat -c %s -- "$target")"
}
