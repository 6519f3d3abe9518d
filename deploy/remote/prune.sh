# Removes old releases and what was pushed. Arguments: PREFIX KEEP look|remove.
# The current and the previous release stay, and of the others the newest, KEEP in all.
# Prints "remove KIB PATH" for each. Exit status 75: a deployment is running.
{
    set -eu
    export LC_ALL=C
    prefix=$1
    keep=$2
    action=$3

    link() { if [ -L "$prefix/$1" ]; then basename "$(readlink "$prefix/$1")"; fi; }

    drop() {
        [ -e "$1" ] || return 0
        printf 'remove %s %s\n' "$(du -sk "$1" | cut -f1)" "$1"
        [ "$action" = look ] || rm -rf "$1"
    }

    prune() {
        cd "$prefix"
        if [ "$action" = remove ]; then
            exec 9>>.lock
            flock -w 2 9 || exit 75
            mkdir -p incoming
            exec 8>>incoming/.push.lock
            flock -w 2 8 || exit 75
        fi
        current=$(link current)
        previous=$(link previous)
        kept=0
        for name in "$current" "$previous"; do
            if [ -n "$name" ] && [ -d "releases/$name" ]; then kept=$((kept + 1)); fi
        done
        if [ "$current" = "$previous" ] && [ -n "$current" ]; then kept=1; fi
        # What an interrupted installation left begins with a dot.
        for folder in releases/.[!.]*; do drop "$folder"; done
        # The newest by when they were switched to.
        for folder in releases/*/; do
            [ ! -d "$folder" ] || stat -c '%Y %n' "$folder"
        done | sort -rn | while read -r _ folder; do
            name=$(basename "$folder")
            case $name in "$current" | "$previous") continue ;; esac
            kept=$((kept + 1))
            [ "$kept" -le "$keep" ] || drop "releases/$name"
        done
        for file in incoming/*; do drop "$file"; done
    }

    [ ! -d "$prefix" ] || prune
    echo end
    exit 0
}
