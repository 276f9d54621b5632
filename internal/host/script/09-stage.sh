
# --- stage: the new file, into root's own folder ---

# without_rights UID GID COMMAND runs a command with that user's rights and groups only:
# no capability and no means to gain one, no terminal, nothing of root's environment,
# none of the script's descriptors; for $within seconds, or ten. Its children are killed
# with it unless they leave its process group. Without a UID it runs as the user of the
# script.
# Any process of that user can write to its output, also after its end (pidfd_getfd(2)):
# so it goes through a pipe with limits on size and time, never into a file of root's.
without_rights() {
    as_uid=$1 as_gid=$2
    shift 2
    [ -z "$as_uid" ] ||
        set -- env -i PATH="$PATH" LC_ALL=C setpriv --reuid="$as_uid" --regid="$as_gid" --init-groups --bounding-set=-all --inh-caps=-all --no-new-privs -- "$@"
    setsid -w timeout -k 2 "${within:-10}" "$@" 3<&- 6>&- 7>&-
}

# as_caller runs a command with the login user's rights.
as_caller() { without_rights "${SUDO_UID:-}" "${SUDO_GID:-}" "$@"; }

# unit_user sets $as_user and $as_group to the user and group of the unit; empty means
# root, if the agent runs as root. If the unit is unknown it fails: root is not assumed.
unit_user() {
    as_user='' as_group='' as=''
    [ "$as_root" != yes ] || return 0
    [ "$load" = loaded ] || { why="configuration $unit is not loaded, so its user is unknown"; return 1; }
    [ -n "$user" ] || return 0
    value=$(id -u -- "$user" 2>/dev/null) || { why="configuration the host has no user $user, which $unit runs as"; return 1; }
    [ "$value" != "$(id -u)" ] || return 0
    command -v setpriv >/dev/null || { why='configuration the host has no setpriv'; return 1; }
    as_user=$user as_group=${group:-$(id -g -- "$user")} as=" as user $user"
}

# staging_folder refuses any other name, because the folder is removed later.
staging_folder() {
    case ${source#/tmp/} in
    */* | *[!A-Za-z0-9._-]*) refuse internal 'not a staging folder' ;;
    .aoifleet-*) ;;
    *) refuse internal 'not a staging folder' ;;
    esac
}

stage() {
    staging_folder
    make_state || refuse disk "cannot create $state, or root does not own it"
    # One byte more than expected. With O_NONBLOCK it does not wait for a FIFO (fifo(7)).
    # shellcheck disable=SC2016 # for the caller's shell
    said=$({ as_caller sh -c 'dd if="$1/certificate" bs="$2" count=1 iflag=nonblock status=none; exec rm -rf -- "$1"' \
        sh "$source" "$((size + 1))" 2>/dev/null | timeout -k 2 12 head -c "$((size + 1))" >"$state/staged-$run"; } 2>&1)
    status=$?
    sum=$(sha256sum <"$state/staged-$run")
    if [ $status -eq 0 ] && [ "${sum%% *}" = "$new" ]; then
        say result staged
        return
    fi
    rm -f -- "$state/staged-$run"
    case $said in
    *'space left'* | *[qQ]uota* | *[rR]'ead-only'*) refuse disk "cannot write the certificate to $state: ${said%%"$NL"*}" ;;
    *) refuse command 'the certificate arrived incomplete' ;;
    esac
}

# discard removes what stage and fetch kept, or left when they were killed.
discard() {
    rm -rf -- "$state/fetch-$run" "$state/staged-$run" "$state/staged-$run".*
    say result discarded
}
