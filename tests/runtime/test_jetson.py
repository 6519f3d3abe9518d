"""Which Jetson it is, from the files of every board with every JetPack that runs on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sysroots import BOARDS, RELEASES, Tree, make_jetson, make_pc

from bisenet_edge.boards import boards, load_board
from bisenet_edge.runtime import jetson
from bisenet_edge.runtime.jetson.tables import JETPACKS, MODULES, SOCS
from bisenet_edge.runtime.sysroot import Sysroot

# Board -> (module, board file, chip, compute capability, INT8).
EXPECTED = {
    "nano": ("Jetson Nano 4GB", "", "tegra210", "5.3", False),
    "tx2": ("Jetson TX2", "", "tegra186", "6.2", False),
    "xavier-nx": ("Jetson Xavier NX", "xavier-nx", "tegra194", "7.2", True),
    "agx-xavier": ("Jetson AGX Xavier 32GB", "agx-xavier", "tegra194", "7.2", True),
    "orin-nano-4gb": ("Jetson Orin Nano 4GB", "orin-nano", "tegra234", "8.7", True),
    "orin-nano-8gb": ("Jetson Orin Nano 8GB (developer kit)", "orin-nano", "tegra234", "8.7", True),
    "orin-nx-8gb": ("Jetson Orin NX 8GB", "orin-nx", "tegra234", "8.7", True),
    "orin-nx-16gb": ("Jetson Orin NX 16GB", "orin-nx", "tegra234", "8.7", True),
    "agx-orin-32gb": ("Jetson AGX Orin 32GB", "agx-orin", "tegra234", "8.7", True),
    "agx-orin-64gb": ("Jetson AGX Orin 64GB", "agx-orin", "tegra234", "8.7", True),
    "thor": ("Jetson AGX Thor (T5000)", "thor", "tegra264", "11.0", True),
}
# L4T -> JetPack, as NVIDIA names them.
NAMES = {
    "32.7.1": "4.6.1",
    "32.7.6": "4.6.6",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5.0": "5.1.3",
    "35.6.0": "5.1.4",
    "35.6.1": "5.1.5",
    "35.6.2": "5.1.5",
    "35.6.3": "5.1.5",
    "35.6.4": "5.1.6",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5.0": "6.2.2",
    "38.2.0": "7.0",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
    "39.2.1": "7.2.1",
}
CHIPS = {
    "32": ("tegra210", "tegra186", "tegra194"),
    "35": ("tegra194", "tegra234"),
    "36": ("tegra234",),
    "38": ("tegra264",),
    "39": ("tegra234", "tegra264"),
}
PAIRS = [(board, l4t) for l4t in RELEASES for board in BOARDS if EXPECTED[board][2] in CHIPS[l4t[:2]]]


@pytest.mark.parametrize(("board", "l4t"), PAIRS)
def test_every_board_with_every_jetpack(tmp_path, board, l4t):
    found = jetson.detect(make_jetson(tmp_path, board, l4t).root)
    module, name, soc, capability, has_int8 = EXPECTED[board]
    assert (found.module, found.board, found.soc) == (module, name, soc)
    assert (found.compute_capability, found.has_int8) == (capability, has_int8)
    assert found.model == BOARDS[board].model
    assert found.l4t == tuple(int(part) for part in l4t.split("."))
    assert found.jetpack == NAMES[l4t]
    assert soc in found.release.socs
    assert json.loads(json.dumps(found.to_json()))["l4t"] == l4t


def test_every_board_of_the_facts_is_made():
    assert set(EXPECTED) == set(BOARDS)
    assert set(NAMES) == set(RELEASES)
    assert len(PAIRS) > 100


def test_what_is_no_jetson(tmp_path):
    assert jetson.detect(make_pc(tmp_path / "pc").root) is None
    assert jetson.detect(tmp_path) is None
    raspberry = Tree(tmp_path / "raspberry")
    raspberry.write("/proc/device-tree/compatible", "raspberrypi,5-model-b\0brcm,bcm2712\0")
    raspberry.write("/proc/device-tree/model", "Raspberry Pi 5 Model B\0")
    assert jetson.detect(raspberry.root) is None


@pytest.mark.parametrize(
    ("line", "l4t", "jetpack"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic", (36, 4, 3), "6.2"),
        ("# R36 (release), REVISION: 3, GCID: 1", (36, 3), "6.0"),
        ("# R36 (release), REVISION: 9.9, GCID: 1", (36, 9, 9), ""),
        ("# R40 (release), REVISION: 1.0, GCID: 1", (40, 1, 0), ""),
        ("# R36 (rel", (36, 4, 4), "6.2.1"),
        ("", (36, 4, 4), "6.2.1"),
        ("\x00\x00\xff", (36, 4, 4), "6.2.1"),
    ],
)
def test_the_release_file_may_be_new_short_or_damaged(tmp_path, line, l4t, jetpack):
    # dpkg's list tells it too, where the file does not.
    tree = make_jetson(tmp_path, "orin-nano-8gb", "36.4.4")
    tree.write("/etc/nv_tegra_release", line)
    found = jetson.detect(tree.root)
    assert (found.l4t, found.jetpack) == (l4t, jetpack)


def test_an_image_without_a_device_tree_tells_its_release(tmp_path):
    tree = make_jetson(tmp_path, "orin-nano-8gb", "36.4.3")
    tree.remove("/proc/device-tree")
    found = jetson.detect(tree.root)
    assert (found.jetpack, found.soc, found.board, found.module) == ("6.2", "", "", "")
    assert (found.compute_capability, found.has_int8) == ("", None)
    assert found.title == "a Jetson"


def test_a_board_without_any_release(tmp_path):
    tree = make_jetson(tmp_path, "thor", "38.4.0")
    tree.remove("/etc/nv_tegra_release", "/var/lib/dpkg")
    found = jetson.detect(tree.root)
    assert (found.l4t, found.jetpack, found.release) == ((), "", None)
    assert found.board == "thor"


def test_the_kernels_own_folder_serves_where_proc_has_no_device_tree(tmp_path):
    tree = make_jetson(tmp_path, "orin-nx-16gb", "36.4.3")
    tree.at("/sys/firmware/devicetree").mkdir(parents=True)
    tree.at("/proc/device-tree").rename(tree.at("/sys/firmware/devicetree/base"))
    assert jetson.detect(tree.root).board == "orin-nx"


def test_an_unknown_part_number_is_not_guessed_but_its_family_is_read(tmp_path):
    tree = make_jetson(tmp_path, "agx-orin-64gb", "36.4.3")
    tree.write("/proc/device-tree/compatible", "nvidia,p3737-0000+p3701-9999\0nvidia,tegra234\0")
    found = jetson.detect(tree.root)
    assert (found.module, found.board) == ("", "agx-orin")
    tree.write("/proc/device-tree/model", "NVIDIA Something Else\0")
    tree.write("/proc/device-tree/compatible", "nvidia,p9999-0000\0nvidia,tegra999\0")
    found = jetson.detect(tree.root)
    assert (found.module, found.board, found.soc, found.compute_capability) == ("", "", "tegra999", "")
    assert found.has_int8 is None


@pytest.mark.parametrize(
    ("wanted", "board", "says"),
    [
        ("orin-nano", "orin-nano-4gb", ""),
        ("orin-nano", "agx-orin-64gb", "made for orin-nano, and this is Jetson AGX Orin 64GB (agx-orin)"),
        ("orin-nano", "nano", "made for orin-nano, and this is Jetson Nano 4GB, which has no board file"),
        ("cpu", "thor", "made for a CPU, and this is Jetson AGX Thor (T5000): its GPU would be idle"),
        ("cpu", None, ""),
        ("thor", None, "made for thor, and this is no Jetson"),
    ],
)
def test_a_board_that_something_else_was_made_for(tmp_path, wanted, board, says):
    found = (
        jetson.detect(make_jetson(tmp_path, board, next(l4t for name, l4t in PAIRS if name == board)).root)
        if board
        else None
    )
    assert jetson.board_mismatch(wanted, found) == says


def test_the_tables_agree_with_the_board_files():
    assert {module.board for module in MODULES} - {""} == set(boards()) - {"cpu"}
    capability = {soc.name: soc for soc in SOCS}
    for module in MODULES:
        if module.board:
            board, soc = load_board(module.board), capability[module.soc]
            assert board.compute_capability == soc.compute_capability
            assert board.has_int8 == soc.has_int8
            names = {
                ".".join(release.name.split(".")[:2]) for release in JETPACKS if module.soc in release.socs
            }
            # The board file starts where the device program does.
            assert {name for name in names if name >= "5"} == set(board.jetpack)


def test_versions():
    assert jetson.version_of("10.3.0.30-1+cuda12.5") == (10, 3, 0, 30)
    assert jetson.version_of("unknown") == jetson.version_of("") == ()
    assert jetson.version_text((8, 5, 2)) == "8.5.2"
    assert jetson.jetpack_of(()) is None


def test_this_machine_is_looked_at_by_default():
    # Whatever it is, its own files decide.
    told = Path("/proc/device-tree/compatible")
    assert (jetson.detect() is not None) == (told.is_file() and b"nvidia,tegra" in told.read_bytes())


def test_links_stay_inside_the_root(tmp_path):
    tree = Tree(tmp_path / "root")
    tree.write("/etc/real/file", "inside\0\n")
    tree.link("/etc/absolute", "/etc/real/file")
    tree.link("/etc/relative", "real/../real/file")
    tree.link("/etc/folder", "/etc/real")
    tree.link("/etc/outside", "../../../../etc/passwd")
    tree.link("/etc/circle", "/etc/circle")
    files = Sysroot(tree.root)
    for name in ("/etc/absolute", "/etc/relative", "/etc/folder/file"):
        assert files.text(name) == "inside"
    assert not files.exists("/etc/outside")
    assert files.path("/etc/outside") == tree.root / "etc" / "passwd"
    assert (files.text("/etc/circle"), files.exists("/etc/circle")) == ("", False)
    assert (files.text("/nowhere"), files.text("/etc")) == ("", "")


def test_names_match_in_the_order_of_their_numbers(tmp_path):
    tree = Tree(tmp_path)
    for number in (10, 2, 0):
        tree.camera(number, "")
    assert Sysroot(tree.root).glob("/dev/video*") == ["/dev/video0", "/dev/video2", "/dev/video10"]
    assert Sysroot(tree.root).glob("/sys/class/*/video0/name") == ["/sys/class/video4linux/video0/name"]
    assert Sysroot(tree.root).glob("/nowhere/*") == []
    assert "/proc/meminfo" in Sysroot().glob("/proc/mem*")


def test_this_machines_links_are_followed_too(tmp_path):
    (tmp_path / "python3.11").touch()
    (tmp_path / "python3").symlink_to("python3.11")
    assert Sysroot().path(str(tmp_path / "python3")).name == "python3.11"
