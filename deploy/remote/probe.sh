# Says what a device is and what it runs; changes nothing. Arguments: PREFIX SERVICE.
# The braces: a shell that reads this from a connection runs nothing before the last line has arrived.
{
    set -u
    export LC_ALL=C
    prefix=$1
    service=$2
    # A folder that stands for "/" where the hardware is described: tests.
    root=${BISENET_EDGE_SYSROOT:-}

    tell() { printf '%s %s\n' "$1" "$2"; }

    # The content in base64, so that no content is taken for one of our lines.
    tell_file() {
        [ ! -r "$root$1" ] || printf 'file %s %s\n' "$1" "$(head -c 65536 "$root$1" | base64 | tr -d '\n')"
    }

    link() { if [ -L "$prefix/$1" ]; then basename "$(readlink "$prefix/$1")"; fi; }

    probe() {
        tell uid "$(id -u)"
        tell user "$(id -un)"
        tell hostname "$(uname -n)"
        tell architecture "$(uname -m)"
        missing=
        for tool in base64 df flock setsid sha256sum stat tar; do
            command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
        done
        tell missing "$missing"
        if [ "$(id -u)" -eq 0 ]; then
            tell root self
        elif ! command -v sudo >/dev/null 2>&1; then
            tell root absent
        elif sudo -n sh -c : >/dev/null 2>&1; then
            tell root sudo
        else
            tell root password
        fi

        near=$prefix
        while [ ! -e "$near" ]; do near=$(dirname "$near"); done
        if [ -w "$near" ]; then tell writable yes; else tell writable no; fi
        # -P: one line per file system; the fourth word is what is free, in KiB.
        tell free_kib "$(df -Pk "$near" | awk 'NR == 2 { print $4 }')"

        for name in /proc/device-tree/model /proc/device-tree/compatible /sys/firmware/devicetree/base/model \
            /sys/firmware/devicetree/base/compatible /etc/nv_tegra_release; do
            tell_file "$name"
        done

        tell current "$(link current)"
        tell previous "$(link previous)"
        tell releases "$(cd "$prefix/releases" 2>/dev/null && printf '%s ' *)"
        root=
        tell_file "$prefix/current/release.json"
        tell_file "$prefix/current/board.json"
        tell_file "$prefix/current/artifact/manifest.json"

        if [ "$service" != none ] && command -v systemctl >/dev/null 2>&1; then
            systemctl show -p ActiveState -p SubState -p StatusText -p NRestarts "$service" 2>/dev/null |
                sed 's/^/unit /'
        fi
        job=$(cat "$prefix/jobs/last" 2>/dev/null)
        [ -z "$job" ] || tell job "$job $(cat "$prefix/jobs/$job/status" 2>/dev/null || echo unfinished)"
        tell end probe
    }

    probe
    exit 0
}
