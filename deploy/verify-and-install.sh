#!/bin/sh
# Checks a bundle, unpacks it and runs its installer. Nothing of a bundle is unpacked or run before its
# signature, its serial and the list of its files have passed, and what is checked is a copy that no other
# user of the device can exchange.
#
# Needs what every JetPack has: a POSIX shell, coreutils, findutils, sed, util-linux, tar, gzip, ssh-keygen.
# One function runs everything, called in the last line: a script that arrives by ssh and breaks off does nothing.
set -eu
umask 022
# A host that has hung up must not end an installation halfway.
trap '' PIPE
LC_ALL=C
export LC_ALL

usage() {
    cat <<'END'
sudo sh verify-and-install.sh NAME.tar.gz [OPTIONS]

  --signature FILE          default: NAME.tar.gz.sig
  --sha256 HEX              what the bundle must be
  --check                   check it, install nothing
  --allow-unsigned          only while this device trusts no key yet
  --allow-downgrade         take a bundle that is older than what is installed
  --max-mb N                most that it may unpack to (1024)
  --prefix DIR              default: /opt/bisenet-edge
  --etc DIR                 with trusted_signers and revoked_signers (default: /etc/bisenet-edge)
  --no-service, --units DIR, --any-machine, --latency-budget-ms MS, --health-timeout-s S
                            as install.sh takes them

Exit codes: 0 ok, 1 refused or failed, 2 usage, 3 self-test or latency.
END
}

say() { printf '%s\n' "$*" || :; }

# fail STATUS MESSAGE [NEXT-STEP]
fail() {
    printf 'error: %s\n' "$2" >&2 || :
    [ -z "${3:-}" ] || printf '  next:     %s\n' "$3" >&2 || :
    exit "$1"
}

# refuse MESSAGE [NEXT-STEP]
refuse() {
    say "step $step failed $1"
    fail 1 "$1" "${2:-}"
}

absolute() { case $1 in /*) say "$1" ;; *) say "$(pwd)/$1" ;; esac }

# Another user must not be able to exchange what is checked: only root may write here, and in every folder above.
only_root_writes() {
    [ "$(id -u)" -eq 0 ] || return 0
    folder=$1
    while :; do
        if [ -n "$(find "$folder" -maxdepth 0 \( ! -user 0 -o -perm /022 ! -perm -1000 \) 2>/dev/null)" ]; then
            refuse "others than root may write to $folder" "sudo chown root: $folder && sudo chmod go-w $folder"
        fi
        [ "$folder" != / ] || return 0
        folder=$(dirname "$folder")
    done
}

# copy FILE NEW-FILE BYTES: at most so many; whatever happens to FILE meanwhile, the copy is one thing.
copy() {
    if [ ! -f "$1" ] || [ -L "$1" ]; then refuse "no plain file: $(basename "$1")"; fi
    head -c "$(($3 + 1))" <"$1" >"$2" || refuse "cannot copy $(basename "$1") to $prefix" "df -h $prefix"
    [ "$(stat -c %s "$2")" -le "$3" ] || refuse "$(basename "$1") is larger than $3 bytes" 'see --max-mb'
}

check_signature() {
    trust=$etc/trusted_signers
    if [ ! -e "$trust" ] && [ ! -L "$trust" ]; then
        [ "$unsigned" = yes ] ||
            refuse "this device trusts no key yet: there is no $trust" \
                'install the file that bisenet-edge deploy keygen made, or once: --allow-unsigned'
        signer='unsigned (this device trusts no key yet)'
        return
    fi
    only_root_writes "$etc"
    only_root_writes "$(readlink -m "$trust")"
    command -v ssh-keygen >/dev/null || refuse 'ssh-keygen is missing' 'sudo apt-get install -y openssh-client'
    [ -e "$signature" ] ||
        refuse "unsigned: there is no $(basename "$signature"), and this device takes signed bundles only" \
            'bisenet-edge deploy jetson --sign KEY'
    copy "$signature" "$work/bundle.sig" 65536
    next='sign it with a key in '$trust': bisenet-edge deploy jetson --sign KEY'
    signer=$(ssh-keygen -Y find-principals -s "$work/bundle.sig" -f "$trust" 2>/dev/null </dev/null |
        head -n 1 | cut -d, -f1) || :
    [ -n "$signer" ] || refuse 'its signature is of no key that this device trusts' "$next"
    set -- -Y verify -f "$trust" -I "$signer" -n bisenet-edge -s "$work/bundle.sig"
    revoked=$etc/revoked_signers
    if [ -e "$revoked" ] || [ -L "$revoked" ]; then
        only_root_writes "$(readlink -m "$revoked")"
        [ -f "$revoked" ] && [ -r "$revoked" ] || refuse "$revoked leads nowhere" "ls -l $revoked"
        set -- "$@" -r "$revoked"
    fi
    ssh-keygen "$@" <"$work/bundle.tar.gz" >/dev/null 2>&1 ||
        refuse 'its signature does not fit: changed, truncated, or its key is revoked' "$next"
    signer="signed by $signer"
}

# Bounded before anything else looks at it, for a few bytes can unpack to a full disk.
decompress() {
    size=$(gzip -dc <"$work/bundle.tar.gz" 2>/dev/null | head -c "$((max_bytes + 1))" | wc -c)
    [ "$size" -le "$max_bytes" ] || refuse "it unpacks to more than $max_mb MB" '--max-mb N, if that is right'
    gzip -t <"$work/bundle.tar.gz" 2>/dev/null || refuse 'it is damaged or truncated: gzip cannot read it' \
        'copy it here again'
    free_kb=$(df -Pk "$work" | sed -n '2s/^[^ ]* *[0-9]* *[0-9]* *\(-\{0,1\}[0-9]*\) .*/\1/p')
    need_kb=$((2 * size / 1024 + 1024))
    [ "${free_kb:-0}" -ge "$need_kb" ] ||
        refuse "not enough space in $prefix: it needs $((need_kb / 1024)) MB, ${free_kb:-0} kB are free" \
            "df -h $prefix"
    gzip -dc <"$work/bundle.tar.gz" >"$work/bundle.tar" || refuse "cannot write to $prefix" "df -h $prefix"
}

# One folder with plain files: no absolute paths, no "..", no links or devices, no mode but 644 and 755.
check_listing() {
    tar --numeric-owner -P -tvf "$work/bundle.tar" >"$work/listing" 2>/dev/null || refuse 'it is damaged: tar cannot read it'
    [ "$(wc -l <"$work/listing")" -le 2000 ] || refuse 'it has more than 2000 files'
    name=
    total=0
    : >"$work/paths"
    while read -r mode _ size _ _ path rest; do
        case $mode in
            -rw-r--r-- | -rwxr-xr-x | drwxr-xr-x) ;;
            *) refuse "it holds something else than plain files and folders of mode 644 or 755: $mode" ;;
        esac
        case $path$rest in
            *[!A-Za-z0-9._/+-]*) refuse 'a file in it has an unusual name' ;;
        esac
        [ -z "$rest" ] || refuse 'a file in it has an unusual name'
        path=${path%/}
        case /$path/ in
            //* | *//* | */../* | */./*) refuse "a file in it leads outside its folder: $path" ;;
        esac
        name=${name:-${path%%/*}}
        case $path/ in
            -* | .*) refuse "a file in it has an unusual name: $path" ;;
            "$name"/*) ;;
            *) refuse "it has more than one folder: $name and ${path%%/*}" ;;
        esac
        total=$((total + size))
        [ "$total" -le "$max_bytes" ] || refuse "it unpacks to more than $max_mb MB" '--max-mb N, if that is right'
        printf '%s\n' "$path" >>"$work/paths"
    done <"$work/listing"
    [ -z "$(sort "$work/paths" | uniq -d)" ] || refuse 'it holds a file twice'
}

# serial_of < release.json: digits and dots, or nothing.
serial_of() { sed -n 's/^  "serial": "\([0-9][0-9.]*\)",\{0,1\}$/\1/p' | head -n 1; }

check_serial() {
    new=$(tar -xOf "$work/bundle.tar" "$name/release.json" 2>/dev/null | head -c 1000000 | serial_of)
    [ -n "$new" ] || refuse 'it has no release.json with a serial' 'make it with this version of bisenet-edge deploy'
    [ -f "$prefix/current/release.json" ] || return 0
    old=$(serial_of <"$prefix/current/release.json")
    if [ -z "$old" ] || [ "$new" = "$old" ] || [ "$downgrade" = yes ]; then return 0; fi
    newest=$(printf '%s\n%s\n' "$old" "$new" | sort -t. -k1,1n -k2,2n -k3,3n -k4,4n | tail -n 1)
    [ "$newest" = "$new" ] ||
        refuse "it is older than what is installed: serial $new, installed $old" \
            '--allow-downgrade, or back to the release before: sudo '"$prefix"'/current/install.sh --rollback'
}

main() {
    prefix=/opt/bisenet-edge
    etc=/etc/bisenet-edge
    bundle=''
    signature=''
    sha256=''
    work=''
    unsigned=no
    downgrade=no
    check=no
    max_mb=1024
    count=$#
    # Each word is taken from the front; what is meant for install.sh is put back at the end.
    while [ "$count" -gt 0 ]; do
        word=$1
        shift
        count=$((count - 1))
        value=
        case $word in
            --signature | --sha256 | --max-mb | --prefix | --etc | --units | --latency-budget-ms | --health-timeout-s)
                [ "$count" -gt 0 ] || fail 2 "$word needs a value"
                value=$1
                shift
                count=$((count - 1))
                ;;
        esac
        case $word in
            --signature) signature=$value ;;
            --sha256) sha256=$value ;;
            --max-mb) max_mb=$value ;;
            --prefix) prefix=$value ;;
            --etc) etc=$value ;;
            --units) set -- "$@" "$word" "$(readlink -m "$value")" ;;
            --latency-budget-ms | --health-timeout-s) set -- "$@" "$word" "$value" ;;
            --no-service | --any-machine) set -- "$@" "$word" ;;
            --check) check=yes ;;
            --allow-unsigned) unsigned=yes ;;
            --allow-downgrade) downgrade=yes ;;
            -h | --help)
                usage
                exit 0
                ;;
            -*) fail 2 "unknown option $word" 'sh verify-and-install.sh --help' ;;
            *)
                [ -z "$bundle" ] || fail 2 'one bundle at a time'
                bundle=$word
                ;;
        esac
    done
    [ -n "$bundle" ] || fail 2 'which bundle?' 'sh verify-and-install.sh NAME.tar.gz'
    case $max_mb in '' | *[!0-9]*) fail 2 "--max-mb is not a number: $max_mb" ;; esac
    case $(basename -- "$bundle") in *[!A-Za-z0-9._+-]*) fail 2 'unusual character in the name of the bundle' ;; esac
    case $prefix$etc in *[!A-Za-z0-9._/+-]*) fail 2 'unusual character in --prefix or --etc' ;; esac
    max_bytes=$((max_mb * 1024 * 1024))
    signature=${signature:-$bundle.sig}
    # Python looks for modules in the current folder first, and that may be anybody's.
    bundle=$(absolute "$bundle") signature=$(absolute "$signature")
    prefix=$(absolute "$prefix") etc=$(absolute "$etc")
    cd /

    step=verify
    [ -f "$bundle" ] || refuse "no such file: $bundle"
    # With links resolved once and for all: a link that is changed later must not lead elsewhere.
    prefix=$(readlink -m "$prefix")
    etc=$(readlink -m "$etc")
    mkdir -p "$prefix/releases" 2>/dev/null && [ -w "$prefix/releases" ] ||
        refuse "cannot write to $prefix" 'run it with sudo, or try it out: --prefix DIR --no-service'
    only_root_writes "$prefix/releases"
    # Whoever calls may hold the lock already, and hands it down as file descriptor 9.
    [ "$(readlink /proc/self/fd/9)" = "$prefix/.lock" ] || exec 9>>"$prefix/.lock"
    flock -n 9 || refuse 'another installation is running' 'wait for it'
    trap '[ -z "$work" ] || rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM HUP
    rm -rf "$prefix"/releases/.staging-*
    work=$(umask 077 && mktemp -d "$prefix/releases/.staging-XXXXXXXX")

    copy "$bundle" "$work/bundle.tar.gz" "$max_bytes"
    if [ -n "$sha256" ]; then
        found=$(sha256sum <"$work/bundle.tar.gz" | cut -c1-64)
        [ "$found" = "$sha256" ] || refuse "it is not what was sent: sha256 $found" 'copy it here again'
    fi
    check_signature
    decompress
    check_listing
    check_serial
    say "step verify ok $name, serial $new, $signer"
    [ "$check" = no ] || exit 0

    step=unpack
    mkdir "$work/unpacked"
    tar --no-same-owner --no-same-permissions -xf "$work/bundle.tar" -C "$work/unpacked" 2>/dev/null ||
        refuse "cannot unpack it in $prefix" "df -h $prefix"
    rm "$work/bundle.tar" "$work/bundle.tar.gz"
    chmod 755 "$work"
    say "step unpack ok $(wc -l <"$work/paths") files, $((total / 1000)) kB"
    status=0
    sh "$work/unpacked/$name/install.sh" --staged --prefix "$prefix" --etc "$etc" "$@" </dev/null || status=$?
    exit "$status"
}

main "$@"
