
# --- makefolder: a folder for the agent's secrets ---

# makefolder creates the folder of $path, if it is missing, and prints the facts of the file
# that is to be in it. Nothing reads the folder until the file is there.
makefolder() {
    both_clocks
    unit_state
    find_log
    find_config || refuse configuration "$config is a link, and non-root users can write the folder $unsafe"
    if ! stat_path && [ "$kind" = nodir ]; then
        may_make_folder || refuse configuration "the folder of $path does not exist, and root can't safely create it"
        create_folder 2>/dev/null || refuse disk "cannot create the folder of $path"
        stat_path
    fi
    say other "$path"
    say_file
    say result made
}

# create_folder creates the folder whose facts may_make_folder has read. Only root can write the
# folders above it.
create_folder() {
    enter "$place" && mkdir -m 700 -- "./$leaf" || return
    if chown -- "${user:-root}:${group:-$(id -g -- "${user:-root}")}" "./$leaf" && sync -- .; then return; fi
    rmdir -- "./$leaf"
    return 1
}
