
# --- stage: the new file, into root's own folder ---

# as_caller runs a command with the login user's own rights, so that neither a
# symlink nor a FIFO of theirs makes root read what they could not; for $within
# seconds, or five.
as_caller() {
    if [ -n "${SUDO_UID:-}" ]; then
        # shellcheck disable=SC2153 # sudo(8) sets both
        setpriv --reuid="$SUDO_UID" --regid="$SUDO_GID" --clear-groups -- timeout "${within:-5}" "$@"
    else
        timeout "${within:-5}" "$@"
    fi
}

# staging_folder refuses any other name for what is to be removed later.
staging_folder() {
    case ${source#/tmp/} in
    */* | *[!A-Za-z0-9._-]*) refuse internal 'not a staging folder' ;;
    .aoifleet-*) ;;
    *) refuse internal 'not a staging folder' ;;
    esac
}

stage() {
    staging_folder
    make_state || refuse disk "$state can not be made, or is not root's own"
    # A byte more than there should be. O_NONBLOCK keeps a FIFO from being waited for (fifo(7)).
    # shellcheck disable=SC2016 # for the caller's shell
    said=$({ as_caller sh -c 'dd if="$1/certificate" bs="$2" count=1 iflag=nonblock status=none; status=$?; rm -rf -- "$1"; exit "$status"' \
        sh "$source" "$((size + 1))" >"$state/staged-$run"; } 2>&1)
    status=$?
    sum=$(sha256sum <"$state/staged-$run")
    if [ $status -eq 0 ] && [ "${sum%% *}" = "$new" ]; then
        say result staged
        return
    fi
    rm -f -- "$state/staged-$run"
    case $said in
    *'space left'* | *[qQ]uota* | *[rR]'ead-only'*) refuse disk "the certificate can not be written to $state: ${said%%"$NL"*}" ;;
    *) refuse command "the certificate did not arrive whole: ${said%%"$NL"*}" ;;
    esac
}

# discard removes what stage left.
discard() {
    rm -f -- "$state/staged-$run"
    say result discarded
}
