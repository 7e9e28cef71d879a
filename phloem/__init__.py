"""phloem: federated edge simulation with compressed model exchange, on Flower.

The public names below are imported when they are first used, so that `import phloem` costs nothing
and a device that only compresses never loads a framework.
"""

# A wheel holds the subpackages inside this folder; a checkout and a Flower bundle hold them beside it.
from pathlib import Path

_here = Path(__file__).parent
if not (_here / "server").is_dir():
    __path__.append(str(_here.parent))

from importlib import import_module  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from phloem.client.mod import compress_mod
    from phloem.compression.codec import Codec, CodecState, codec
    from phloem.compression.update import Schema, Update
    from phloem.config import Experiment
    from phloem.errors import ConfigError, CorruptUpdate, PhloemError, ProtocolError, RunError
    from phloem.ledger import Ledger
    from phloem.server.grid import CompressedGrid
    from phloem.simulation.grid import LocalGrid
    from phloem.simulation.run import simulate
    from phloem.sources import Federation, Samples
    from phloem.summary import Summary, summarise

__version__ = "0.1.0"

_HOME = {
    "Codec": "phloem.compression.codec",
    "CodecState": "phloem.compression.codec",
    "CompressedGrid": "phloem.server.grid",
    "ConfigError": "phloem.errors",
    "CorruptUpdate": "phloem.errors",
    "Experiment": "phloem.config",
    "Federation": "phloem.sources",
    "Ledger": "phloem.ledger",
    "LocalGrid": "phloem.simulation.grid",
    "PhloemError": "phloem.errors",
    "ProtocolError": "phloem.errors",
    "RunError": "phloem.errors",
    "Samples": "phloem.sources",
    "Schema": "phloem.compression.update",
    "Summary": "phloem.summary",
    "Update": "phloem.compression.update",
    "codec": "phloem.compression.codec",
    "compress_mod": "phloem.client.mod",
    "simulate": "phloem.simulation.run",
    "summarise": "phloem.summary",
}

__all__ = [
    "Codec",
    "CodecState",
    "CompressedGrid",
    "ConfigError",
    "CorruptUpdate",
    "Experiment",
    "Federation",
    "Ledger",
    "LocalGrid",
    "PhloemError",
    "ProtocolError",
    "RunError",
    "Samples",
    "Schema",
    "Summary",
    "Update",
    "codec",
    "compress_mod",
    "simulate",
    "summarise",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'phloem' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
