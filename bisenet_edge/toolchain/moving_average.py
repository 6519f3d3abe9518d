"""An exponential moving average of a network's weights, which is steadier than the weights themselves."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

PREFIX = "ema/"


class MovingAverage:
    """A second copy of a network that follows the first: w = decay * w + (1 - decay) * network's.

    The statistics of batch normalisation are averaged alike.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """`decay` is per step, above 0 and below 1."""
        self._averaged = AveragedModel(
            module, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True
        )  # the first update copies

    @property
    def module(self) -> nn.Module:
        """The averaged network."""
        averaged: nn.Module = self._averaged.module
        return averaged

    def update(self, module: nn.Module) -> None:
        """Take in the network after a step."""
        self._averaged.update_parameters(module)

    def state(self) -> dict[str, Tensor]:
        """Everything that `restore` needs, each key with the prefix "ema/"."""
        return {PREFIX + key: value for key, value in self._averaged.state_dict().items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take what an earlier `state` gave; other keys are left alone."""
        own = {k.removeprefix(PREFIX): v for k, v in tensors.items() if k.startswith(PREFIX)}
        self._averaged.load_state_dict(own)
