"""A public implementation's weights as a checkpoint of ours, equal in what it computes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bisenet_edge.errors import CheckpointError, UsageError, unknown_name
from bisenet_edge.labels import CITYSCAPES, LabelSet
from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.importing.coincheung import CoinCheung
from bisenet_edge.toolchain.importing.family import Family, Normalisation, State
from bisenet_edge.toolchain.importing.reading import read_state
from bisenet_edge.toolchain.importing.torchseg import TorchSeg
from bisenet_edge.toolchain.models.bisenet import BiSeNet
from bisenet_edge.toolchain.models.bisenet_config import BiSeNetConfig

FAMILIES: dict[str, Family] = {family.name: family for family in (CoinCheung(), TorchSeg())}
AUTO = "auto"
STEMS = ("spatial.conv1.conv.weight", "backbone.stem.conv.weight")
COUNTER = "num_batches_tracked"
NAMED, LISTED = 5, 20
"""How many tensors are named where some say enough, and where each is to be found."""
PUBLISHED = "exactly the weights of the published network"
TRAIN_HERE = "train it here: bisenet-edge train --help"


@dataclass(frozen=True)
class ImportOptions:
    """How to read a foreign checkpoint.

    Attributes:
        family: "coincheung", "torchseg", or "auto" = by the names of its weights.
        labels: its classes; None = Cityscapes for 19 of them.
        normalisation: what its training used; None = what the implementation used for its data sets.
    """

    family: str = AUTO
    labels: LabelSet | None = None
    normalisation: Normalisation | None = None


@dataclass(frozen=True)
class Imported:
    """A foreign checkpoint, taken over.

    Attributes:
        checkpoint: ours; its recipe says where it comes from.
        config: how it is built.
        family: which implementation it is of.
        ignored: names of tensors that are no part of the network.
    """

    checkpoint: Checkpoint
    config: BiSeNetConfig
    family: Family
    ignored: tuple[str, ...]


def import_checkpoint(path: Path, options: ImportOptions) -> Imported:
    """Take over a checkpoint of a public BiSeNet. Nothing is written.

    The network gives the logits of the original at 1/8 of the frame's size. It takes BGR frames in 0..255
    as all of ours do: the input channels of the two stems change places, and mean and deviation stand in
    the configuration.

    Raises:
        CheckpointError: a file that cannot be read, of another network, or with weights missing or left over.
        UsageError: an unknown implementation, or classes or a normalisation that have to be said.
    """
    if options.family not in (AUTO, *FAMILIES):
        raise unknown_name("implementation", options.family, (AUTO, *FAMILIES))
    state = read_state(path)
    family = _family(state, options.family, path)
    ignored = tuple(key for key in state if family.ignored(key))
    state = {key: value for key, value in state.items() if key not in ignored}
    config = family.config(state)
    names = family.modules(config)
    num_classes = _num_classes(state, names, path)
    labels = _labels(num_classes, options.labels)
    config = _normalised(config, _normalisation(family, num_classes, options.normalisation))
    with torch.device("meta"):  # for its shapes alone
        wanted = BiSeNet(config, num_classes).state_dict()
    tensors = _renamed(state, names, wanted, path)
    for stem in STEMS:
        tensors[stem] = tensors[stem].flip(1)
    checkpoint = Checkpoint(
        model=f"bisenet-{config.backbone}",
        labels=labels,
        tensors=tensors,
        recipe=_provenance(path, family),
        architecture=config.to_json(),
    )
    return Imported(checkpoint, config, family, ignored)


def _family(state: State, wanted: str, path: Path) -> Family:
    found = [family for family in FAMILIES.values() if family.matches(state)]
    if wanted == AUTO and len(found) == 1:
        return found[0]
    if wanted != AUTO and FAMILIES[wanted] in found:
        return FAMILIES[wanted]
    if "detail.S1.0.conv.weight" in state:
        raise CheckpointError(
            "these are the weights of a BiSeNet V2, and BiSeNet v1 can be imported alone",
            got=f"{path}: {len(state)} tensors: {_some(state)}",
            expected=" or ".join(family.origin for family in FAMILIES.values()),
            fix="train it here: bisenet-edge train --model bisenetv2 --data URI",
        )
    raise CheckpointError(
        "these are not the weights of a BiSeNet that can be imported",
        got=f"{path}: {len(state)} tensors: {_some(state)}",
        expected=" or ".join(f.origin for f in ([FAMILIES[wanted]] if wanted != AUTO else FAMILIES.values())),
        fix=f"--from {found[0].name}" if found else TRAIN_HERE,
    )


def _num_classes(state: State, names: dict[str, str], path: Path) -> int:
    (classifier,) = [there for there, here in names.items() if here == "head.classifier"]
    weight = state[f"{classifier}.weight"]
    if weight.dim() != 4:
        raise CheckpointError(
            "the classifier is no convolution",
            got=f"{path}: {classifier}.weight has the shape {tuple(weight.shape)}",
            expected="(classes, channels, 1, 1)",
            fix="download or copy the file again",
        )
    return weight.shape[0]


def _labels(num_classes: int, given: LabelSet | None) -> LabelSet:
    labels = CITYSCAPES if given is None and num_classes == len(CITYSCAPES) else given
    if labels is None:
        raise UsageError(
            "which classes are these?",
            got=f"a network of {num_classes} classes",
            expected=f"{len(CITYSCAPES)} classes, which are taken for Cityscapes, or --labels",
            fix="--labels camvid, or --labels FILE.toml (name, and a [[class]] with name and color per id)",
        )
    if len(labels) != num_classes:
        raise UsageError(
            "the label set has another number of classes than the network",
            got=f"{len(labels)} of '{labels.name}'",
            expected=str(num_classes),
        )
    return labels


def _normalisation(family: Family, num_classes: int, given: Normalisation | None) -> Normalisation:
    chosen = given or family.normalisation(num_classes)
    if chosen is None:
        raise UsageError(
            "which mean and deviation was this network trained with?",
            got=f"{family.name}, {num_classes} classes",
            expected="those of its training data, for red, green and blue in 0..1",
            fix="--mean R,G,B --std R,G,B, as its configuration or data set class has them",
        )
    return chosen


def _normalised(config: BiSeNetConfig, normalisation: Normalisation) -> BiSeNetConfig:
    (red, green, blue), (r, g, b) = normalisation.mean, normalisation.std
    mean = (255 * blue, 255 * green, 255 * red)
    return replace(config, mean=mean, std=(255 * b, 255 * g, 255 * r))


def _renamed(state: State, names: dict[str, str], wanted: State, path: Path) -> dict[str, Tensor]:
    """The weights under our names; every one is there once, with the network's shape."""
    tensors: dict[str, Tensor] = {}
    strangers = []
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        ours = f"{names.get(module, '')}.{leaf}"
        if ours in wanted:
            tensors[ours] = value
        else:
            strangers.append(key)
    back = {here: there for there, here in names.items()}
    missing = []
    for key in wanted:
        module, _, leaf = key.rpartition(".")
        if key in tensors:
            continue
        if leaf == COUNTER or (module.endswith("classifier") and leaf == "bias"):
            # Files of old PyTorch have no counters, and early heads no bias: what zeros say too.
            tensors[key] = torch.zeros(wanted[key].shape, dtype=wanted[key].dtype)
        else:
            missing.append(f"{back[module]}.{leaf}")
    if missing or strangers:
        raise CheckpointError(
            f"weights are missing: {len(missing)}, and unknown: {len(strangers)}",
            got=f"{path}: missing {_some(missing, LISTED)}; unknown {_some(strangers, LISTED)}",
            expected=PUBLISHED,
            fix=f"save all of it and nothing else, or, if its layers are others, {TRAIN_HERE}",
        )
    misfits = [
        f"{back[key.rpartition('.')[0]]}.{key.rpartition('.')[2]} {tuple(value.shape)} "
        f"instead of {tuple(wanted[key].shape)}"
        for key, value in tensors.items()
        if value.shape != wanted[key].shape
    ]
    if misfits:
        raise CheckpointError(
            f"weights of other shapes than the published network's: {len(misfits)}",
            got=f"{path}: {_some(misfits, LISTED)}",
            expected=PUBLISHED,
            fix=f"if its layers are others, {TRAIN_HERE}",
        )
    broken = [
        f"{back[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}" for key in tensors if _broken(key, tensors)
    ]
    if broken:
        raise CheckpointError(
            f"weights that are not finite, or variances below 0: {len(broken)}",
            got=f"{path}: {_some(broken)}",
            expected="numbers that a network can compute with",
            fix="take a checkpoint of an earlier epoch: this training has diverged",
        )
    return {key: tensors[key] for key in wanted}


def _broken(key: str, tensors: State) -> bool:
    value = tensors[key]
    return not bool(value.isfinite().all()) or (key.endswith("running_var") and bool((value < 0).any()))


def _some(names: Iterable[str], most: int = NAMED) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more


def _provenance(path: Path, family: Family) -> dict[str, Any]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"imported_from": family.origin, "file": path.name, "file_sha256": digest}
