#!/bin/sh
# A stand-in for the real installer: the same steps, links and exit codes, and a fake systemctl's service.
# At each step it meets the test in a folder: it says that it is there, and waits while it is held.
set -eu
bundle=$1 sum=$3 prefix=$5 gates=
shift 5
fail_at=
release=new
while [ $# -gt 0 ]; do
    case $1 in
        --no-service | --any-machine) ;;
        --fail-at) shift && fail_at=$1 ;;
        --release) shift && release=$1 ;;
        *) gates=$1 ;;
    esac
    shift
done

point() {
    ln -s "releases/$2" "$prefix/.$1.new"
    mv -T "$prefix/.$1.new" "$prefix/$1"
}

for step in verify unpack machine files compile selftest latency switch service health; do
    touch "$gates/at-$step"
    while [ -e "$gates/hold-$step" ]; do sleep 0.05; done
    if [ "$step" = "$fail_at" ]; then
        echo "step $step failed told to"
        echo "error: $step was told to fail" >&2
        echo "  next:     do not tell it to" >&2
        if [ "$(readlink "$prefix/current")" = "releases/$release" ] && [ -e "$prefix/before" ]; then
            point current "$(cat "$prefix/before")"
            systemctl restart bisenet-edge.service
            echo "step rollback ok $(cat "$prefix/before")"
        fi
        case $step in selftest | latency) exit 3 ;; *) exit 1 ;; esac
    fi
    case $step in
        verify) [ "$(sha256sum <"$bundle" | cut -c1-64)" = "$sum" ] ;;
        unpack) mkdir -p "$prefix/releases/$release" ;;
        switch)
            old=$(basename "$(readlink "$prefix/current" || echo none)")
            if [ "$old" != "$release" ]; then
                echo "$old" >"$prefix/before"
                [ "$old" = none ] || point previous "$old"
            fi
            point current "$release"
            ;;
        service) systemctl restart bisenet-edge.service ;;
        *) ;;
    esac
    echo "step $step ok"
done
echo "step done ok $release"
