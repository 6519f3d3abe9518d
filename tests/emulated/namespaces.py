"""Commands in namespaces of their own, so that nothing of this machine is changed and nothing is left behind.

A user namespace with all ids mapped to themselves, mounts, process ids and, since Linux 6.7, a binfmt_misc
that only these processes see: aarch64 programs run by qemu-user, though the machine knows nothing of it.
When the outer process ends, the kernel ends all others and undoes every mount.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

QEMU = Path("/usr/bin/qemu-aarch64-static")
QEMU_CPU = "cortex-a76"
"""Nearest to Orin's Cortex-A78AE. QEMU's own default turns on emulated SME, which is ten times slower."""

# An ELF file for little-endian aarch64, executable or shared (binfmt_misc.rst); F opens the emulator now, so
# that it need not exist inside a chroot; O hands it the file opened.
_BINFMT = (
    r":aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
    f":{QEMU}:OF"
)
REGISTER_QEMU = f"""
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf '%s' '{_BINFMT}' > /proc/sys/fs/binfmt_misc/register
"""
CPUINFO = "".join(
    f"""processor\t: {index}
BogoMIPS\t: 62.50
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""
    for index in range(2)
)
"""Of a Cortex-A76, as `QEMU_CPU` is."""
# ONNX Runtime 1.32 reads the features of the CPU here, and crashes on those of an x86 machine.
FAKE_CPUINFO = f"""
mount -t tmpfs tmpfs /mnt
cat > /mnt/cpuinfo <<'END'
{CPUINFO}END
mount --bind /mnt/cpuinfo /proc/cpuinfo
umount -l /mnt
"""
_OUTER_LIMIT_S = 5.0
# Whatever happens to this process, a pipe breaks then. Process 1 of the namespace is killed, which ends all
# others there. (PR_SET_PDEATHSIG, which unshare's --kill-child sets, does not outlive all that systemd does.)
_WATCH = """
( read -r _ <&{fd} || for child in $(cat /proc/$$/task/$$/children); do
    [ "$child" = "$BASHPID" ] || kill -KILL "$child"
done ) </dev/null >/dev/null 2>&1 &
exec {fd}<&-
"""


@dataclass(frozen=True)
class Chroot:
    """A tree to work in.

    Attributes:
        tree: its root.
        arm64: it holds aarch64 programs.
        binds: folder or file of this machine -> path in the tree; both must exist, but for folders.
        environment: what programs in it see beside PATH, HOME and LANG.
    """

    tree: Path
    arm64: bool = False
    binds: Mapping[Path, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *command: str, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a command in the tree; stdout and stderr are captured as text."""
        lines = [REGISTER_QEMU if self.arm64 else "", 'cd "$1"; shift', "mount -t proc proc proc"]
        lines += ["mount --rbind /dev dev", "mount --rbind /sys sys", "mount -t tmpfs tmpfs tmp"]
        if self.arm64:
            lines += [FAKE_CPUINFO, "mount --bind /proc/cpuinfo proc/cpuinfo"]
        for outside, inside in self.binds.items():
            target = inside.lstrip("/")
            if outside.is_dir():
                (self.tree / target).mkdir(parents=True, exist_ok=True)
            lines.append(f"mount --bind '{outside}' '{target}'")
        lines.append('exec chroot . /usr/bin/env -i "$@"')
        words = {
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "QEMU_CPU": QEMU_CPU,
            **self.environment,
        }
        return in_namespaces(
            "\n".join(lines), str(self.tree), *(f"{k}={v}" for k, v in words.items()), *command,
            timeout_s=timeout_s,
        )  # fmt: skip


def in_namespaces(
    script: str,
    *arguments: str,
    kinds: Sequence[str] = ("--mount", "--pid"),
    prepare: str = "",
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 600,
) -> subprocess.CompletedProcess[str]:
    """Run a shell script as root of a new user namespace.

    Args:
        script: for `sh -e`; `$1`, `$2`, ... are `arguments`.
        kinds: further namespaces, as options of unshare(1).
        prepare: shell commands that run before, outside.
        environment: of all commands; None = this process's.
        timeout_s: after that everything in the namespaces is killed.

    Raises:
        subprocess.TimeoutExpired: with what was printed until then.
    """
    unshare = ["unshare", "--user", *kinds, "--fork"]
    inner = ["sh", "-ec", "read -r _\nmount -t proc proc /proc\nexec </dev/null\n" + script]
    alive, told = os.pipe()
    outer = _WATCH.format(fd=alive) + prepare + '\nexec "$@"'
    process = subprocess.Popen(
        ["bash", "-ec", outer, "bash", *unshare, *inner, "sh", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        errors="replace",
        pass_fds=(alive,),
    )
    try:
        os.close(alive)
        _map_ids(process)
        printed, errors = process.communicate("go\n", timeout=timeout_s)
        os.write(told, b"ended\n")
    finally:
        os.close(told)
        process.wait()
    return subprocess.CompletedProcess(arguments, process.returncode, printed, errors)


def _map_ids(process: subprocess.Popen[str]) -> None:
    outside = os.readlink("/proc/self/ns/user")
    deadline = time.monotonic() + _OUTER_LIMIT_S
    while os.readlink(f"/proc/{process.pid}/ns/user") == outside:
        if process.poll() is not None or time.monotonic() > deadline:
            raise OSError(f"no user namespace: {process.communicate('', timeout=1)[1]}")
        time.sleep(0.01)
    for kind in ("uid_map", "gid_map"):
        Path(f"/proc/{process.pid}/{kind}").write_text("0 0 65536\n")
