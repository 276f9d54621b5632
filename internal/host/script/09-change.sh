
# --- change: one to sixteen files, and one restart ---
#
# All functions work on the current file: $path, $real, $old, $new and the other
# variables of $file_values. With several files each_file exchanges these, and in_folder
# enters the folder of the current one; with one file both cost nothing. The staged file
# has the new files one after the other, each of $length bytes. The backup of the Nth file
# is certificate.N in the run's folder, of the first certificate.

file_values='path real folder by_inventory old new swap saved length new_owner new_mode copy
    ours file_known place leaf live_leaf guarded origin tmp intruder'

# next_file begins the values of another file. One too many is enough to be refused: the time
# that dash needs for their variables grows with the square of their number.
next_file() {
    [ "$files" -le 16 ] || return 0
    files=$((files + 1))
    use_file "$files"
    for key in $file_values; do eval "$key=''"; done
    by_inventory=no swap=yes length=0 copy=certificate.$files
}

# use_file N makes the Nth file the current one. 0 is none.
use_file() {
    [ "$nth" != "$1" ] || return 0
    for key in $file_values; do eval "${key}_$nth=\$$key $key=\${${key}_$1-}"; done
    nth=$1
}

# each_file COMMAND ... runs it for each file, until it fails for one. That file, or the
# last, is then the current one.
each_file() {
    turn=1
    while [ "$turn" -le "$files" ]; do
        use_file "$turn"
        "$@" || return
        turn=$((turn + 1))
    done
}

# in_folder enters the folder of the current file, if there are several, and reads the
# file's facts.
in_folder() { [ "$files" = 1 ] || { enter_folder && same_folder; }; }

# enter_folder enters the folder of the current file, whose path has no link, and reads the
# file's facts.
enter_folder() {
    here=''
    walk "${real%/*}" && [ "$walked" = "${real%/*}" ] || return
    folders=$folders$ROOT$walked/$NL
    stat_here
}

# all_files sets $reals to the files, one a line.
all_files() { reals='' && each_file add_real; }
add_real() { [ -z "$real" ] || reals=$reals$ROOT$real$NL; }

# check_values_of_file refuses what the program never sends.
check_values_of_file() {
    case $saved in .* | *[!A-Za-z0-9-]*) refuse internal 'not a run id' ;; esac
    # At most 1 MiB; and bash would run a command in the subscript of an arithmetic operand.
    case $length in '' | *[!0-9]* | ????????*) refuse internal 'not a number' ;; esac
    case $new_mode in '' | [0-7][0-7][014]) ;; *) refuse internal 'not a mode' ;; esac
    case $new_owner in -* | *[!A-Za-z0-9_.:-]*) refuse internal 'not an owner' ;; esac
}

# only_once refuses a file that the change has already, also under another name.
only_once() {
    for value in "$here/$leaf" ${file_state:+"${file_state%:*:*}"}; do
        case $taken in *"$NL$value$NL"*) refuse configuration "$path is the same file as another one of the change" ;; esac
        taken=$taken$value$NL
    done
    total=$((total + ${size_of_file:-0} + length))
    [ "$total" -le "$most_in_all" ] || refuse configuration 'the files of the change are larger than 4 MiB together'
}
most_in_all=4194304

# staged_part sets $origin to the current file's part of the staged file.
staged_part() {
    origin=$state/staged-$run
    [ "$files" -gt 1 ] || return 0
    dd if="$origin" of="$kept/new.$nth" bs=65536 skip="$offset" count="$length" iflag=fullblock,skip_bytes,count_bytes status=none || return
    offset=$((offset + length)) origin=$kept/new.$nth
}

# with_copies COMMAND [FILE ...] runs it with the backup of the current file and its new
# file, and the other files. If others can write the folder, the new file is checked after
# the swap, and here only where it comes from.
with_copies() {
    action=$1
    shift
    if [ "$swap" = yes ] && [ "$new" != none ]; then
        if [ -n "$guarded" ]; then set -- "$origin" "$@"; else set -- "$tmp" "$@"; fi
    fi
    [ "$old" = none ] || set -- "$kept/$copy" "$@"
    "$action" "$@"
}

# receipt_of_others prints what an undo needs of the other files. The last lines make an
# earlier version, which knows one file and no package, leave the files alone: no file has
# that digest.
receipt_of_others() {
    [ "$files" -gt 1 ] || [ -n "$package" ] || return 0
    while [ "$nth" -lt "$files" ]; do
        use_file $((nth + 1))
        say file "$nth"
        for key in path real folder old new swap; do eval "say $key \"\$$key\""; done
    done
    say file 0
    say old several
    say new several
}
