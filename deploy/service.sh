#!/bin/sh
# The service, for install.sh, which reads this file: unit, configuration, start, health, and the way back.
# It uses the variables and functions of install.sh.
# shellcheck shell=sh disable=SC2154,SC2034,SC2015

# A property as systemd tells it, fit for a JSON string.
property() {
    { systemctl show --property "$1" --value bisenet-edge.service 2>/dev/null || :; } |
        head -n 1 | tr -d '\000-\037' | sed 's/[\\"]/\\&/g'
}

make_user() {
    id -u bisenet-edge >/dev/null 2>&1 ||
        useradd --system --user-group --no-create-home --shell /usr/sbin/nologin bisenet-edge
}

# Who may use cameras and the GPU: Ubuntu 22.04 and newer keep the GPU's render nodes to a group of its own; an
# unknown one would fail the start.
device_groups() {
    if getent group render >/dev/null; then echo 'video render'; else echo video; fi
}

install_service() {
    mkdir -p "$etc"
    if [ ! -e "$etc/bisenet-edge.env" ]; then
        (umask 077 && cp "$home/bisenet-edge.env" "$etc/bisenet-edge.env.new")
        mv "$etc/bisenet-edge.env.new" "$etc/bisenet-edge.env"
    fi
    # A URI may hold a password.
    chgrp bisenet-edge "$etc/bisenet-edge.env"
    chmod 640 "$etc/bisenet-edge.env"
}

# Start the unit of the current release and wait for a mask: $health says how it is, or $why what failed.
activate() {
    sed -e "s|/usr/bin/python3 -s|$python -s|" -e "s|/opt/bisenet-edge|$prefix|g" \
        -e "s|/etc/bisenet-edge|$etc|g" -e "s|^SupplementaryGroups=.*|SupplementaryGroups=$(device_groups)|" \
        "$prefix/current/bisenet-edge.service" >"$units/bisenet-edge.service.new" &&
        mv "$units/bisenet-edge.service.new" "$units/bisenet-edge.service" || {
        why="cannot write $units/bisenet-edge.service"
        return 1
    }
    why='systemctl cannot enable the service'
    systemctl daemon-reload || return 1
    if [ -z "$(setting SOURCE)" ]; then
        [ -z "$step" ] || say 'step service ok'
        health="not checked: the service is not started, SOURCE is empty in $etc/bisenet-edge.env"
        return 0
    fi
    # Once: whoever disables it later has a reason.
    if [ ! -e "$prefix/.enabled" ]; then
        systemctl enable --quiet bisenet-edge.service || return 1
        : >"$prefix/.enabled"
    fi
    [ -z "$step" ] || say 'step service ok'
    if [ "$(systemctl is-enabled bisenet-edge.service 2>/dev/null)" = disabled ] &&
        [ "$(property ActiveState)" != active ]; then
        health='not checked: the service is disabled and stopped, and stays so'
        return 0
    fi
    [ -z "$step" ] || step=health
    why='the service does not start'
    timeout "$health_timeout_s" systemctl restart bisenet-edge.service || return 1
    wait_for_masks
}

# Alive is not enough: a mask must have come out.
wait_for_masks() {
    deadline_s=$(($(date +%s) + health_timeout_s))
    while :; do
        state=$(property ActiveState) text=$(property StatusText)
        case $state:$text in
            active:*'frame age'*)
                health=$text
                return 0
                ;;
            failed:*)
                why='the service has failed'
                return 1
                ;;
        esac
        [ "$(date +%s)" -lt "$deadline_s" ] || break
        sleep 1
    done
    why="no mask within $health_timeout_s s (service: $state, $text)"
    return 1
}

remove_service() {
    systemctl disable --now --quiet bisenet-edge.service
    rm -f "$units/bisenet-edge.service" "$prefix/.enabled"
    systemctl daemon-reload
}

# take_back CURRENT PREVIOUS: the releases as they were before, "" where there was none. Fails if they do not run.
take_back() {
    old=$1 old_previous=$2
    taken=0
    # A rollback that fails goes forward again.
    if [ "$action" = rollback ] && [ "$switched" = yes ]; then word=restore; else word=rollback; fi
    point current "$old"
    point previous "$old_previous"
    forget
    [ -n "$old" ] || [ "$service" = no ] || remove_service
    if [ -z "$old" ]; then
        say "step $word ok nothing was installed before"
    elif [ "$service" = no ] || activate; then
        say "step $word ok $old"
    else
        say "step $word failed $old is current again, but its service does not run"
        taken=1
    fi
    [ "$release" = "$old" ] || [ "$release" = "$old_previous" ] || rm -rf "${prefix:?}/releases/$release"
    return "$taken"
}

rollback() {
    recall
    case $(pending action) in
        install)
            release=$(release_at current)
            if [ "$release" != "$old" ] && [ -n "$old" ]; then
                # Never confirmed: what ran before it is what to go back to.
                take_back "$old" "$old_previous" || fail 1 "$why" 'journalctl -u bisenet-edge -n 50'
                return
            fi
            # It was cut off before it switched, or had nothing before it.
            [ -z "$old" ] || point previous "$old_previous"
            old=$release
            ;;
    esac
    release=$old_previous
    [ -n "$release" ] && [ "$release" != "$old" ] && [ -d "$prefix/releases/$release" ] ||
        fail 1 "there is no previous release in $prefix" 'install one: ./install.sh'
    check_files "$prefix/releases/$release" ||
        fail 1 "the previous release is damaged: $release" "what runs, runs on; install another: ./install.sh"
    trap clean_up EXIT
    trap 'exit 130' INT TERM HUP
    remember rollback
    switched=yes
    point current "$release"
    point previous "$old"
    sync -f "$prefix"
    if [ "$service" = yes ] && ! activate; then
        step=rollback
        fail 1 "$why" 'journalctl -u bisenet-edge -n 50'
    fi
    switched=no
    forget
    say "step rollback ok $release"
}

status() {
    first=
    unconfirmed=
    if [ -e "$prefix/.pending" ]; then unconfirmed=$(release_at current); fi
    printf '{\n  "prefix": "%s",\n  "current": "%s",\n  "previous": "%s",\n  "unconfirmed": "%s",\n' \
        "$prefix" "$(release_at current)" "$(release_at previous)" "$unconfirmed"
    printf '  "serial": "%s",\n  "releases": [' \
        "$(json_number serial "$prefix/current/release.json")"
    for folder in "$prefix"/releases/*/; do
        [ ! -d "$folder" ] || printf '%s"%s"' "$first" "$(basename "$folder")"
        first=', '
    done
    printf '],\n  "service": {"state": "%s", "status": "%s"}\n}\n' \
        "$(property ActiveState)" "$(property StatusText)"
}
