"""What ranks values or channels when some are left out: their magnitude, or what the caller finds important.

P. Molchanov et al., "Pruning convolutional neural networks for resource efficient inference", ICLR 2017, rank
by the change of the loss: |gradient x weight|, which `client/importance.py` computes.
"""

from __future__ import annotations

from phloem.compression.update import Schema, Update, is_finite
from phloem.errors import CodecError, ConfigError

RANKINGS = ("magnitude", "importance")


def check(name: str, by: str) -> None:
    """Raise CodecError unless this is a ranking that a stage may name."""
    if by not in RANKINGS:
        raise CodecError(f"`by` of `{name}` should be one of {', '.join(RANKINGS)}. Found {by!r}.")


def scores(importance: Update | None, schema: Schema) -> Update:
    """The importance of every tensor.

    Raises:
        ConfigError: there is none, it is of another shape, or it is not finite.
    """
    if importance is None:
        raise ConfigError(
            "`by=importance` needs to be told it. Found none. Call `encode(update, importance=…)`, "
            "or leave `by` out to rank by magnitude."
        )
    found = {t.name: importance[t.name] for t in schema.tensors if t.name in importance}
    schema.check(found)
    if not is_finite(found):
        raise ConfigError("Importance should be finite. Found NaN or infinity. Lower the learning rate.")
    return found
