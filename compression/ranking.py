"""What ranks values or channels when some are left out: their magnitude, or what the caller finds important.

`importance` asks the caller for what the loss would miss, `information` for what a channel says about the
label; `client/importance.py` computes both.
"""

from __future__ import annotations

from phloem.compression.update import Schema, Update, is_finite
from phloem.errors import ConfigError

MAGNITUDE, IMPORTANCE, INFORMATION = "magnitude", "importance", "information"


def scores(importance: Update | None, schema: Schema) -> Update:
    """The importance of every tensor.

    Raises:
        ConfigError: there is none, it is of another shape, or it is not finite.
    """
    if importance is None:
        raise ConfigError(
            "`by=importance` and `by=information` need to be told it. Found none. Call "
            "`encode(update, importance=…)`, "
            "or leave `by` out to rank by magnitude."
        )
    found = {t.name: importance[t.name] for t in schema.tensors if t.name in importance}
    schema.check(found)
    if not is_finite(found):
        raise ConfigError("Importance should be finite. Found NaN or infinity. Lower the learning rate.")
    return found
