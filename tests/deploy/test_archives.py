"""Archives that are not what a bundle is: each is refused before anything of it is unpacked."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile

import pytest
from devices import VERIFY, refused

NAME = "bisenet-edge-cpu-toy-64x32"
RELEASE = b'{\n  "serial": "0.1.0.5",\n  "name": "x"\n}\n'


def member(name, content=b"x", mode=0o644, **attributes):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def archive(path, *members, release=True):
    """A tar.gz of these members, with a release.json before them."""
    first = [member(f"{NAME}/release.json", RELEASE)] if release else []
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as tar:
        for info, content in [*first, *members]:
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


HOSTILE = {
    "an absolute path": ([member("/tmp/evil")], "outside"),
    "a way up": ([member(f"{NAME}/../../evil")], "outside"),
    "a way up at the end": ([member(f"{NAME}/..", b"", type=tarfile.DIRTYPE, mode=0o755)], "outside"),
    "a dot": ([member(f"{NAME}/./x")], "outside"),
    "a symbolic link": (
        [member(f"{NAME}/x", b"", type=tarfile.SYMTYPE, linkname="/etc", mode=0o777)],
        "else",
    ),
    "a hard link": ([member(f"{NAME}/x", b"", type=tarfile.LNKTYPE, linkname="/etc/shadow")], "else"),
    "a device": ([member(f"{NAME}/x", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3)], "else"),
    "a block device": ([member(f"{NAME}/x", b"", type=tarfile.BLKTYPE, devmajor=8)], "else"),
    "a pipe": ([member(f"{NAME}/x", b"", type=tarfile.FIFOTYPE)], "else"),
    "a set-user-id file": ([member(f"{NAME}/x", mode=0o4755)], "else"),
    "a file for all to write": ([member(f"{NAME}/x", mode=0o666)], "else"),
    "a line break": ([member(f"{NAME}/x\nstep done ok")], "unusual name"),
    "a space": ([member(f"{NAME}/x y")], "unusual name"),
    "a backslash": ([member(f"{NAME}/x\\y")], "unusual name"),
    "a shell's words": ([member(f"{NAME}/$(touch evil);`touch evil`")], "unusual name"),
    "another script": ([member(f"{NAME}/\u202excod")], "unusual name"),
    "a second folder": ([member("other/x")], "more than one folder"),
    "a file beside the folder": ([member("x")], "more than one folder"),
    "the same file twice": ([member(f"{NAME}/x"), member(f"{NAME}/x", b"y")], "twice"),
    "a file as a folder": (
        [member(f"{NAME}/x"), member(f"{NAME}/x/", b"", type=tarfile.DIRTYPE, mode=0o755)],
        "twice",
    ),
    "too many files": ([member(f"{NAME}/{n}", b"") for n in range(2001)], "more than 2000"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused(device, tmp_path, case):
    members, says = HOSTILE[case]
    before = sorted(tmp_path.rglob("*"))
    path = archive(tmp_path / "evil.tar.gz", *members)
    refused(device, path, says, "--allow-unsigned")
    new = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")} - {
        p.relative_to(tmp_path).as_posix() for p in before
    }
    assert new == {"evil.tar.gz", "device/opt/releases", "device/opt/.lock"}


def test_a_first_name_that_looks_like_an_option_is_refused(device, tmp_path):
    path = archive(tmp_path / "evil.tar.gz", member("-x/release.json", RELEASE), release=False)
    refused(device, path, "unusual name", "--allow-unsigned")


def test_a_hidden_folder_is_refused(device, tmp_path):
    path = archive(tmp_path / "evil.tar.gz", member(".x/release.json", RELEASE), release=False)
    refused(device, path, "unusual name", "--allow-unsigned")


def test_a_bomb_is_refused_before_it_touches_the_disk(device, tmp_path):
    """On a real file system of 1 MB: whatever is unpacked there fails otherwise."""
    path = tmp_path / "bomb.tar.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(65):
            file.write(bytes(2**20))
    assert path.stat().st_size < 100_000
    prefix = device.prefix
    inside = f"""
        mount -t tmpfs -o size=1m tmpfs {prefix}
        sh {VERIFY} {path} --allow-unsigned --max-mb 64 --no-service --prefix {prefix} --etc {device.etc}
        echo "code $?"
        find {prefix} -name '*staging*'
    """
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inside]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "code" not in done.stdout:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
    assert "step verify failed it unpacks to more than 64 MB" in done.stdout, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "code 1"


def test_a_file_of_a_terabyte_of_holes_is_refused(device, tmp_path):
    """A sparse file: the archive is complete and tiny."""
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / "release.json").write_bytes(RELEASE)
    with (folder / "x").open("wb") as file:
        file.truncate(2**40)
    for path in folder.iterdir():
        path.chmod(0o644)
    path = tmp_path / "huge.tar.gz"
    subprocess.run(["tar", "-S", "-czf", path, "-C", tmp_path, NAME], check=True)
    assert path.stat().st_size < 10_000
    refused(device, path, "unpacks to more than 1024 MB", "--allow-unsigned")


def test_a_file_that_is_shorter_than_it_says_is_refused(device, tmp_path):
    info, _ = member(f"{NAME}/x", bytes(2**20))
    path = tmp_path / "short.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)))
    refused(device, path, "tar cannot read", "--allow-unsigned")


def test_a_bundle_larger_than_allowed_is_not_even_copied(device, tmp_path):
    path = tmp_path / "large.tar.gz"
    with path.open("wb") as file:
        file.truncate(2**21 + 1)
    refused(device, path, "larger than", "--allow-unsigned", "--max-mb", 2)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "damaged"),
        (b"no archive", "damaged"),
        (gzip.compress(b"no archive", mtime=0), "tar cannot read"),
        (gzip.compress(b"", mtime=0), "tar cannot read"),
    ],
)
def test_what_is_no_archive_is_refused(device, tmp_path, content, says):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(content)
    refused(device, path, says, "--allow-unsigned")


@pytest.mark.parametrize("release", [None, b"{}", b'{\n  "serial": "1.2;x"\n}\n', b'{\n "serial": "1"\n}\n'])
def test_a_bundle_without_a_serial_is_refused(device, tmp_path, release):
    first = [member(f"{NAME}/release.json", release)] if release else []
    path = archive(tmp_path / "x.tar.gz", *first, member(f"{NAME}/y"), release=False)
    refused(device, path, "release.json with a serial", "--allow-unsigned")
