# Runs a script that outlives the connection, one at a time on a device.
#   start PREFIX ID MINE KEY WHO SHA256 ARGUMENTS...     (given to `sh -c`: standard input is the script)
#       -> "job started ID"; "job attached ID" (the same work is running, or has just succeeded and nobody
#       was told, or MINE, a job of this very command); "job busy WHO" (other work is running)
#   follow PREFIX ID       its output, until it ends
#   outcome PREFIX ID      -> "status N"; "status died" (killed, or the device was restarted)
#   told PREFIX ID         its result has reached somebody
# PREFIX/jobs/ID: script, key, who, log, status, current (the release after it), told.
{
    set -eu
    export LC_ALL=C
    umask 022
    # What has begun is finished, whether somebody listens or not.
    trap '' HUP PIPE

    read_file() { cat "$1" 2>/dev/null || :; }

    # What the job itself runs: setsid and the closed standard input cut it off from the connection. It
    # inherits file descriptor 9, and with it the lock.
    # shellcheck disable=SC2016
    runner='
        trap "" HUP INT PIPE
        prefix=$1 job=$2
        shift 2
        cd /
        sh "$job/script" "$@" && code=0 || code=$?
        readlink "$prefix/current" >"$job/current" || :
        echo "$code" >"$job/.status"
        mv "$job/.status" "$job/status"
    '

    # Begun, and without a result.
    running() { [ -n "$1" ] && [ -d "$jobs/$1" ] && [ ! -e "$jobs/$1/status" ]; }

    # Its result is still the news: it ended well, nobody was told, and nothing was switched since.
    news() {
        [ "$(read_file "$jobs/$1/status")" = 0 ] && [ ! -e "$jobs/$1/told" ] &&
            [ "$(read_file "$jobs/$1/key")" = "$key" ] &&
            [ "$(read_file "$jobs/$1/current")" = "$(readlink "$prefix/current" || :)" ]
    }

    # answer WORDS: another job is the one, or none.
    answer() {
        rm -rf "${jobs:?}/$id"
        echo "job $*"
    }

    start() {
        prefix=$1 id=$2 mine=$3 key=$4 who=$5 sum=$6
        shift 6
        jobs=$prefix/jobs
        mkdir -p "$jobs/$id"
        cat >"$jobs/$id/script"
        # Half a script is not run.
        if [ "$(sha256sum <"$jobs/$id/script" | cut -c1-64)" != "$sum" ]; then
            rm -rf "${jobs:?}/$id"
            exit 65
        fi
        exec 9>>"$prefix/.lock"
        tries=0
        until flock -n 9; do
            last=$(read_file "$jobs/last")
            if running "$last"; then
                if [ "$(read_file "$jobs/$last/key")" = "$key" ]; then
                    answer attached "$last"
                else
                    answer busy "$(read_file "$jobs/$last/who")"
                fi
                return 0
            fi
            # Held, but by no job that can be seen: one that is just beginning or ending, or a prune.
            tries=$((tries + 1))
            if [ "$tries" -gt 50 ]; then
                answer busy 'another command'
                return 0
            fi
            sleep 0.2
        done
        last=$(read_file "$jobs/last")
        # The lock is ours, so what has no result is dead.
        ! running "$last" || echo died >"$jobs/$last/status"
        if [ -n "$last" ] && { [ "$last" = "$mine" ] || news "$last"; }; then
            answer attached "$last"
            return 0
        fi
        echo "$key" >"$jobs/$id/key"
        echo "$who" >"$jobs/$id/who"
        echo "$id" >"$jobs/.last"
        mv "$jobs/.last" "$jobs/last"
        forget_old
        setsid sh -c "$runner" bisenet-edge-job "$prefix" "$jobs/$id" "$@" \
            </dev/null >"$jobs/$id/log" 2>&1 &
        echo "job started $id"
    }

    # Names begin with the time, so the oldest come first; the newest five are kept.
    forget_old() {
        set -- "$jobs"/*/
        while [ $# -gt 5 ]; do
            [ "$1" = "$jobs/$id/" ] || rm -rf "$1"
            shift
        done
    }

    # Ended, or gone without a word: the lock is free and still there is no status.
    ended() {
        [ ! -e "$job/status" ] || return 0
        flock -n 9 || return 1
        flock -u 9
        return 0
    }

    follow() {
        job=$1/jobs/$2
        exec 9>>"$1/.lock"
        shown=0
        while :; do
            # Asked before reading: what was written before the end is in the log by then.
            if ended; then over=yes; else over=no; fi
            size=$(stat -c %s "$job/log" 2>/dev/null || echo 0)
            if [ "$size" -gt "$shown" ]; then
                tail -c "+$((shown + 1))" "$job/log" | head -c "$((size - shown))"
                shown=$size
            fi
            [ "$over" = no ] || return 0
            sleep 0.2
        done
    }

    outcome() {
        code=$(read_file "$1/jobs/$2/status")
        echo "status ${code:-died}"
    }

    told() { : >"$1/jobs/$2/told"; }

    action=$1
    shift
    case $action in
        start) start "$@" ;;
        follow) follow "$@" ;;
        outcome) outcome "$@" ;;
        told) told "$@" ;;
        *) exit 2 ;;
    esac
    exit 0
}
