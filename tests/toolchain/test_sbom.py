"""The bill of materials against the official schema, and against what is really in a bundle."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import sys
import tarfile
import zipfile

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from toy_artifact import toy_artifact

from bisenet_edge.boards import load_board
from bisenet_edge.toolchain.bundle import make_bundle
from bisenet_edge.toolchain.sbom import ON_DEVICE


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Path in the bundle -> content."""
    folder = tmp_path_factory.mktemp("sbom")
    recipe = {"recipe": {"data": ["camvid:x"]}, "sha256": "ab"}
    artifact = toy_artifact(folder / "toy", parent=recipe, tools={"torch": "2.8"})
    bundle = make_bundle(artifact, load_board(), folder / "out")
    with tarfile.open(bundle.path) as archive:
        return {m.name.split("/", 1)[1]: archive.extractfile(m).read() for m in archive.getmembers()}


@pytest.fixture(scope="module")
def bill(files):
    return json.loads(files["sbom.cdx.json"])


def components(bill, kind):
    return [part for part in bill["components"] if part["type"] == kind]


def test_it_is_cyclonedx(files):
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(files["sbom.cdx.json"].decode()) is None


def test_it_lists_every_file_with_its_hash(files, bill):
    listed = {part["name"]: part["hashes"][0]["content"] for part in components(bill, "file")}
    rest = {"sbom.cdx.json", "release.json", "SHA256SUMS"}
    assert listed == {n: hashlib.sha256(c).hexdigest() for n, c in files.items() if n not in rest}


def test_it_lists_every_module_of_the_program(files, bill):
    (program,) = components(bill, "application")
    with zipfile.ZipFile(io.BytesIO(files["bisenet-edge.pyz"])) as archive:
        inside = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
    assert {part["name"]: part["hashes"][0]["content"] for part in program["components"]} == inside


def test_it_says_where_the_model_is_from(bill):
    (model,) = components(bill, "machine-learning-model")
    told = {entry["name"]: entry["value"] for entry in model["properties"]}
    assert "non-commercial" in told["weights trained on camvid:x"]
    assert (told["checkpoint sha256"], told["made with torch"]) == ("ab", "2.8")


def test_everything_that_the_program_imports_is_listed_with_a_licence(files, bill):
    with zipfile.ZipFile(io.BytesIO(files["bisenet-edge.pyz"])) as archive:
        trees = [ast.parse(archive.read(name)) for name in archive.namelist() if name.endswith(".py")]
    imported = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    others = imported - set(sys.stdlib_module_names) - {"bisenet_edge"}
    # Of the toolchain's reports, which a device does not make.
    others -= {"jinja2", "markupsafe", "matplotlib"}
    known = {module for part in ON_DEVICE for module in part.modules}
    assert {"numpy", "cv2"} <= others
    assert others <= known, "say in ON_DEVICE of toolchain/sbom.py what it is, and its licence"
    licensed = {part["name"] for part in components(bill, "library") if part["licenses"]}
    assert licensed == {part.name for part in ON_DEVICE}
