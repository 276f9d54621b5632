
# --- upgrade: a rotation that also installs a version of the agent's package ---
#
# The files of both versions are part of the backup, so neither the installation nor its
# undo needs the network. From $kept/installing on an undo installs the old file again,
# whatever is there. After a boot the guard restores the files of the change only: a
# package's own scripts restart units, which must not happen before the agent's start. The
# hold keeps the agent from starting with a mix, until the timer has undone the rest.

upgrade() {
    case $package in '' | [!a-z0-9]* | *[!a-z0-9+.-]*) refuse internal 'not a package' ;; esac
    for value in "$version_old" "$version_new"; do
        case $value in '' | [!A-Za-z0-9]* | *[!A-Za-z0-9.+:~^_-]*) refuse internal 'not a version' ;; esac
    done
    case $manager:$start:$files in apt:yes:* | dnf:yes:* | yum:yes:*) ;; *) refuse internal 'not an upgrade' ;; esac
    for value in "$package_old" "$package_new"; do
        case $value in *[!0-9a-f]* | '') refuse internal 'not a digest' ;; esac
    done
    case $package_saved in .* | *[!A-Za-z0-9-]*) refuse internal 'not a run id' ;; esac
    rotate
}

# check_package refuses a host whose package is not the one that was seen.
check_package() {
    package_version
    [ "$whole:$version" = "yes:$version_old" ] || refuse drift "$package ${version:-of no version} is installed now, not completely $version_old"
    [ -z "$package_held" ] || refuse drift "an administrator holds $package at $version"
    file_state
    was_enabled=$value
}

# file_state sets $value to the unit's UnitFileState, as systemd was last asked.
file_state() { value=${shown#*UnitFileState=} value=${value%%"$NL"*}; }

receipt_of_package() {
    for key in package manager version_old version_new package_old package_new was_enabled; do eval "say $key \"\$$key\""; done
}

# save_package moves the fetched files into the backup, or takes those of another run.
save_package() {
    if [ -n "$package_saved" ]; then
        in_each take_package
    else
        mv -T -- "$state/staged-$run.old" "$kept/package.old" && mv -T -- "$state/staged-$run.new" "$kept/package.new"
    fi 2>/dev/null
    digests "$kept/package.old" "$kept/package.new" 2>/dev/null
    [ "$sums" = "$package_old$NL$package_new$NL" ] || refuse drift "the saved files of $package are not those of $version_old and $version_new"
}

# take_package takes the files of the run in $package_saved, which change places.
take_package() {
    set -- "$state/backups/$package_saved/package"
    [ -f "$1.old" ] || return 0
    for value in old:new new:old; do
        ln -T -- "$1.${value%:*}" "$kept/package.${value#*:}" || cp -T -- "$1.${value%:*}" "$kept/package.${value#*:}"
    done
}

# hold_agent writes the hold, which systemd reads at the next boot, or when a script of the
# package reloads it. It holds while the run's copy of this script exists, but not in this
# boot. A `|` in another condition of the unit makes it weaker, never stronger.
hold_agent() {
    [ "$deadman" = yes ] || return 0
    hold_names
    # Readable for everyone, as systemd expects of unit files.
    (umask 022 && lift_file && { [ -d "${drop_in%/*}" ] || mkdir -- "${drop_in%/*}"; } && [ ! -L "${drop_in%/*}" ] && [ -O "${drop_in%/*}" ] &&
        set -C && printf '%s\n' '[Unit]' "ConditionPathExists=|$lifted" "ConditionPathExists=|!$kept/host.sh" >"$drop_in" && sync -- "$drop_in" "${drop_in%/*}" "$units") 2>/dev/null && return
    exec 6>&-
    refuse configuration "cannot arm the dead-man switch: no hold for a boot, cannot write in ${drop_in%/*}"
}

lift_file() {
    [ -d "${lifted%/*}" ] || mkdir -- "${lifted%/*}" || return
    : >"$lifted"
}

# lift_hold lets the agent start again. $touched is set if it may have been kept from that.
lift_hold() {
    deadman_names
    hold_names
    if [ ! -e "$drop_in" ] || [ -e "$lifted" ]; then return 0; fi
    touched=yes
    lift_file 2>/dev/null
}

# install_new installs the new version. The caller holds the lock.
install_new() {
    say step install
    longer=$((install_time + lock_wait))
    hold=$((hold + longer))
    extend
    hold=$((hold - longer))
    { : >"$kept/installing" && sync -- "$kept/installing" "$kept"; } 2>/dev/null || { exec 6>&-; undo disk "cannot write in $kept"; }
    touched=yes
    install_package "$kept/package.new" || not_installed
    is_installed "$version_new" || { exec 6>&-; undo command "$why"; }
    # dpkg counts it as a failure itself.
    [ -z "$complaint" ] || { why=$complaint; not_installed; }
    after_package enabled
    stat_all
    changed=''
    each_file changed_by_package
    [ -z "$changed" ] || { exec 6>&-; undo drift "the installation of $package $version_new has changed $changed"; }
}

# not_installed undoes the run. If another process kept the lock of the database all the time,
# nothing was begun, and there is nothing to install again, unless that process installs the
# same package.
not_installed() {
    said="cannot install $package $version_new: $why"
    case $passing$busy in
    yesyes) ! is_installed "$version_old" || { rm -f -- "$kept/installing" && touched=''; } ;;
    *) stat_all; each_file changed_by_package ;;
    esac
    exec 6>&-
    undo command "$said"
}

tell_complaint() { [ -z "$complaint" ] || say note "a script of $package $version failed: $complaint"; }

# is_installed VERSION reports whether it is installed, completely; if not, $why has the reason.
is_installed() {
    package_version
    [ "$whole:$version" != "yes:$1" ] || return 0
    why="$package $1 is not completely installed, but ${version:-no version}"
    return 1
}

# changed_by_package finds out whether the current file is still the one of the change. If not,
# what is there counts as the new file: then an undo restores the old one.
changed_by_package() {
    ! same_file || return 0
    : "${changed:=$path}"
    # An undo replaces a file that is missing, or could not be read, in any case.
    case $live in none | '' | large) ;; *) new=$live ;; esac
    swap=yes
}

# after_package STATE does what the package's own scripts left undone. STATE is whether the
# unit should start at boot: enabled or disabled. rpm(8) does not sync what it writes.
after_package() {
    timeout 300 sync 6>&- 7>&-
    case $(systemctl show -p NeedDaemonReload "$unit" 2>/dev/null) in
    *=yes) timeout 60 systemctl daemon-reload >/dev/null 2>&1 6>&- 7>&- ;;
    esac
    unit_state
    file_state
    case $value:$1 in
    disabled:enabled) said=$(timeout 60 systemctl enable "$unit" 2>&1 6>&- 7>&-) ;;
    enabled:disabled) said=$(timeout 60 systemctl disable "$unit" 2>&1 6>&- 7>&-) ;;
    *) ;;
    esac || say note "systemctl ${1%d} $unit failed: ${said%%"$NL"*}"
}

# is_still_new reports whether the new version is installed.
is_still_new() {
    is_installed "$version_new" && return
    class=drift
    return 1
}

# restore_package installs the old version again, if the new one may have been begun. If that
# fails, the agent starts with what is there: it loses less than one that does not run.
restore_package() {
    [ -e "$kept/installing" ] || return 0
    touched=yes passing=''
    say step reinstall
    # In a loop of failures the unit meets its start limit, and a script of the package that
    # starts it would fail.
    unit_state
    end_loop
    systemctl reset-failed "$unit" >/dev/null 2>&1
    # Another process may still install something; a killed run's goes on.
    lock_wait=$install_time unchanged=''
    each_file note_own
    sum=$(sha256sum <"$kept/package.old" 2>/dev/null)
    if [ "${sum%% *}" != "$package_old" ]; then
        why='the saved package is damaged'
    elif install_package "$kept/package.old" && is_installed "$version_old"; then
        tell_complaint
        after_package "$was_enabled"
        each_file take_changed
        what="package with its $what"
        return 0
    fi
    start_anyway
    retry_later
    fail_undo "cannot install $package $version_old again from $kept/package.old: $why"
}

# note_own and take_changed: a script of the old package may change a file of the change too. If
# nothing else had changed it before, what is there then counts as the new file.
note_own() {
    { enter_folder && digest_of_live; } || return 0
    case $live in "$old" | "$new" | none) unchanged=$unchanged:$turn: ;; esac
}

take_changed() {
    case $unchanged in *":$turn:"*) { enter_folder && digest_of_live; } || return 0 ;; *) return 0 ;; esac
    case $live in "$old" | none | '' | large) ;; *) new=$live swap=yes ;; esac
}

# start_anyway starts an agent that does not run, because the package or the hold has stopped it.
start_anyway() {
    its_why=$why
    lift_hold
    unit_state
    case $active:$touched$halted in
    active:* | activating:* | *: | *yesyes) ;;
    *) restart_unit ;;
    esac
    why=$its_why
}
