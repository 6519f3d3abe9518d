"""A checkpoint's accuracy in torch, by the same views and averages as an artifact's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bisenet_edge.dataset import Dataset, Sample
from bisenet_edge.errors import UsageError
from bisenet_edge.frame import Size
from bisenet_edge.progress import Progress, quiet
from bisenet_edge.runtime.evaluation.evaluate import Evaluation, Subject, evaluate, require_classes
from bisenet_edge.runtime.evaluation.method import Method
from bisenet_edge.runtime.evaluation.scoring import Scorer
from bisenet_edge.runtime.evaluation.segment import Segment, with_scorer
from bisenet_edge.runtime.fit import Fit
from bisenet_edge.toolchain.checkpoint import Checkpoint
from bisenet_edge.toolchain.loop import device_of
from bisenet_edge.toolchain.tensors import pad_to_stride, to_input


@dataclass(frozen=True)
class CheckpointOptions:
    """How a checkpoint is evaluated.

    Attributes:
        size: of the network's input, as an exported artifact would have it; None: it sees each picture
            whole, at its own size.
        device: "auto" (CUDA when present), "cpu", "cuda" or "cuda:N".
        method: the views of a picture.
    """

    size: Size | None = None
    device: str = "auto"
    method: Method = field(default_factory=Method)


def evaluate_checkpoint(
    checkpoint: Checkpoint, dataset: Dataset, options: CheckpointOptions, progress: Progress = quiet
) -> Evaluation:
    """Evaluate the FP32 network of a checkpoint.

    Raises:
        DatasetError: other classes than the network's, or nothing is labelled.
        CheckpointError: the weights do not fit the network.
        UsageError: windows without a size; no such device.
        MissingDependencyError: no CUDA device.
    """
    if options.method.slide is not None and options.size is None:
        raise UsageError(
            "windows need a size, and a checkpoint has none",
            got="--slide without --res",
            fix="--res 640x360, the size that it would be exported at",
        )
    require_classes(dataset, checkpoint.labels)
    network = TorchNetwork(checkpoint.build(), device_of(options.device))
    size, method = options.size, options.method
    segment = (
        network.segment(size)
        if method.plain
        else with_scorer(Scorer(network.logits, len(checkpoint.labels), method, size))
    )
    engine = f"torch {torch.__version__}, {network.device}"
    subject = Subject(checkpoint.model, "fp32", engine, str(size or ""))
    return evaluate(segment, dataset, subject, method, progress)


class TorchNetwork:
    """A network that takes frames of any size, as numpy arrays.

    Args:
        module: gives logits [N, C, h, w] of a padded picture, float [N, 3, H, W] in 0..255; it is put into
            evaluation mode and moved to `device`.
        device: where it computes.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.module = module.to(device).eval()
        self.device = device
        # What both sides of its input must be multiples of; a bare module is taken for a BiSeNet.
        self._multiple = int(getattr(module, "input_multiple", 8))

    def logits(self, frame: np.ndarray) -> tuple[np.ndarray, int]:
        """Logits of a frame, as `Scorer` wants them."""
        logits, stride = self._run(frame)
        return logits[0].float().cpu().numpy(), stride

    def mask(self, frame: np.ndarray) -> np.ndarray:
        """Mask of a frame (uint8 [H, W, 3]): uint8 [H, W]; the tail that every exported graph ends in."""
        logits, stride = self._run(frame)
        padded_hw = (logits.shape[2] * stride, logits.shape[3] * stride)
        full = F.interpolate(logits.float(), size=padded_hw, mode="bilinear", align_corners=False)
        ids = full[0, :, : frame.shape[0], : frame.shape[1]].argmax(0)
        return ids.to(torch.uint8).cpu().numpy()

    def segment(self, size: Size | None) -> Segment:
        """Masks of pictures, each scaled to fit `size` as a device would; None: at its own size."""

        def run(samples: Iterator[Sample]) -> Iterator[tuple[Sample, np.ndarray]]:
            for sample in samples:
                if size is None:
                    yield sample, self.mask(sample.image)
                    continue
                fit = Fit((sample.image.shape[0], sample.image.shape[1]), size)
                yield sample, fit.undo(self.mask(fit.apply(sample.image, fit.new_input())))

        return run

    def _run(self, frame: np.ndarray) -> tuple[Tensor, int]:
        padded = pad_to_stride(frame, self._multiple)
        with torch.inference_mode():
            logits: Tensor = self.module(to_input(padded[None], self.device))
        return logits, padded.shape[0] // logits.shape[2]
