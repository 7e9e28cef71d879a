"""Where Flower's engine finds the ServerApp.

In a simulation Flower loads both apps at once, each in a thread. A thread that looks for `phloem.server`
while the other still runs `phloem/__init__.py` would not find it: the bridge there is not yet built. A module
inside the package is found at any time, and `import phloem` waits until the bridge is there.
"""

import phloem  # noqa: F401
from phloem.server.app import app

__all__ = ["app"]
