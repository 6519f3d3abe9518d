# Goes back from one release to another, by the installer of the release that runs.
# Arguments: PREFIX FROM TO, then options for install.sh.
# Both are named, so that asking twice does not go back and forth.
{
    set -eu
    prefix=$1
    from=$2
    to=$3
    shift 3
    now=$(basename "$(readlink "$prefix/current")")
    before=$(basename "$(readlink "$prefix/previous")")
    if [ "$now" != "$from" ] || [ "$before" != "$to" ]; then
        echo "error: the releases here are now $now and $before, not $from and $to; nothing was switched" >&2
        exit 1
    fi
    exec sh "$prefix/current/install.sh" --rollback --prefix "$prefix" "$@"
}
