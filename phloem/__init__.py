"""phloem: federated edge simulation with compressed model exchange, on Flower."""

# A wheel holds the subpackages inside this folder; a checkout and a Flower bundle hold them beside it.
from pathlib import Path

_here = Path(__file__).parent
if not (_here / "server").is_dir():
    __path__.append(str(_here.parent))
