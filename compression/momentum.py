"""Deep gradient compression: momentum is applied before what is small is left out, and not by the receiver.

Y. Lin et al., "Deep gradient compression: reducing the communication bandwidth for distributed training",
ICLR 2018: momentum correction with momentum factor masking.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np

from phloem.compression.feedback import difference
from phloem.compression.signal import Array
from phloem.compression.stage import Warm
from phloem.compression.update import Update
from phloem.errors import CodecError


@dataclass(frozen=True, slots=True)
class MomentumFeedback:
    """Encoder only: `velocity = momentum * velocity + update`, and the velocity is added to the residual.

    Where something was sent the velocity becomes 0, so that old gradients do not push a value that has moved.
    The receiver gets up to `1 / (1 - momentum)` times the sum of all updates: it should add no momentum of
    its own. With `momentum` 0 this is `ef`. If an update is taken back, the velocity that it cleared is not.

    >>> from phloem.compression.codec import codec
    >>> str(codec("dgc:momentum=0.5 | topk:0.001"))
    'dgc:momentum=0.5 | topk:0.001'
    """

    name: ClassVar[str] = "dgc"
    _: KW_ONLY
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if not 0.0 <= self.momentum < 1.0:
            raise CodecError(
                f"`momentum` of `dgc` should be at least 0 and below 1. Found {self.momentum}. "
                "Try `dgc`, which is 0.9."
            )

    def correct(self, update: Update, residual: Update | None, warm: Warm) -> Update:
        """Add the velocity to what is still owed."""
        velocity = self._velocity(update, warm)
        if residual is None:
            return velocity
        return {name: np.asarray(tensor + residual[name]) for name, tensor in velocity.items()}

    def remainder(self, update: Update, corrected: Update, decoded: Update) -> Update:
        """What the receiver did not get."""
        return difference(corrected, decoded)

    def remember(self, update: Update, decoded: Update, warm: Warm) -> Warm:
        """The velocity, but for where something was sent."""
        velocity = self._velocity(update, warm)
        return {key(name): np.where(decoded[name] == 0, tensor, 0) for name, tensor in velocity.items()}

    def _velocity(self, update: Update, warm: Warm) -> dict[str, Array]:
        momentum = np.float32(self.momentum)
        velocity: dict[str, Array] = {}
        for name, tensor in update.items():
            before = warm.get(key(name))
            if before is None or before.shape != tensor.shape:
                velocity[name] = tensor
            else:
                velocity[name] = np.asarray(momentum * before + tensor)
        return velocity


def key(name: str) -> str:
    """Where the velocity of a tensor is kept, beside what stages keep."""
    return f"{name}/velocity"
