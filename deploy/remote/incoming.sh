# What has arrived of a file, and taking it over when it is whole.
#   offer FOLDER NAME SHA256 look|write    how much is there: "whole", or "part SIZE SHA256"
#   accept FOLDER NAME SHA256              the part is whole: give it its name
# Exit status 65: other content than announced (it is removed). 75: somebody else is pushing.
{
    set -eu
    export LC_ALL=C
    umask 077

    digest() { sha256sum "$1" | cut -d' ' -f1; }

    # A receiver whose connection died without a word holds the lock until the kernel gives up on the
    # connection, hours later. It is known by a file that does not grow.
    take_lock() {
        exec 9>>.push.lock
        ! flock -w 1 9 || return 0
        before=$(stat -c %s ./*.part 2>/dev/null || :)
        ! flock -w 3 9 || return 0
        after=$(stat -c %s ./*.part 2>/dev/null || :)
        holder=$(cat .push.pid 2>/dev/null || :)
        if [ "$before" = "$after" ] && [ -n "$holder" ] &&
            [ "$(readlink "/proc/$holder/fd/9")" = "$(pwd -P)/.push.lock" ]; then
            kill "$holder" 2>/dev/null || :
        fi
        flock -w 2 9 || exit 75
    }

    offer() {
        folder=$1 name=$2 sum=$3
        if [ "$4" = write ]; then
            mkdir -p "$folder"
            cd "$folder"
            take_lock
        elif ! cd "$folder" 2>/dev/null; then
            echo 'part 0 -'
            return 0
        fi
        if [ -f "$name" ] && [ "$(digest "$name")" = "$sum" ]; then
            echo whole
        elif [ -f "$name.part" ]; then
            echo "part $(stat -c %s "$name.part") $(digest "$name.part")"
        else
            echo 'part 0 -'
        fi
    }

    accept() {
        cd "$1"
        name=$2
        take_lock
        if [ "$(digest "$name.part")" != "$3" ]; then
            rm -f "$name.part"
            exit 65
        fi
        mv -f "$name.part" "$name"
    }

    case $1 in
        offer) shift && offer "$@" ;;
        accept) shift && accept "$@" ;;
        *) exit 2 ;;
    esac
    exit 0
}
