"""Where Flower's engine finds the ClientApp; `phloem/server_app.py` says why it is here."""

import phloem  # noqa: F401
from phloem.client.app import app

__all__ = ["app"]
