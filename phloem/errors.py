"""The error tree of phloem.

    PhloemError
    ├── ConfigError       what the user asked for cannot be done; exit code 2
    │   ├── CodecError    a codec's text does not name a working chain of stages
    │   ├── DataError     a data source is missing, malformed or too small
    │   └── MissingExtra  an optional dependency is not installed
    ├── CorruptUpdate     bytes that are not a valid update for this schema and codec
    ├── ProtocolError     a message that the round protocol does not allow here
    ├── RejectedUpdate    a reply that may not touch the global model
    └── RunError          a run could not go on; exit code 3

Every text says what was expected, what was found and what to do.
"""


class PhloemError(Exception):
    """The root: `except PhloemError` catches whatever phloem raises on purpose."""


class ConfigError(PhloemError):
    """A setting is outside what phloem can do; nothing was started."""


class CodecError(ConfigError):
    """A codec's text form is unknown, misspelt or a chain that cannot work."""


class DataError(ConfigError):
    """A data source is missing, malformed, not finite or too small for the run."""


class MissingExtra(ConfigError):
    """A feature needs an optional dependency; the text names the extra to install."""


class CorruptUpdate(PhloemError):
    """Bytes that do not decode to a finite update of the expected schema.

    The only error a decoder raises, whatever the bytes are.
    """


class ProtocolError(PhloemError):
    """A message that is well formed but not allowed at this point of the protocol."""


class RejectedUpdate(PhloemError):
    """A reply that was received and may not touch the global model; `code` is one word for the ledger."""

    def __init__(self, code: str, reason: str) -> None:
        """Keep the code beside the text."""
        super().__init__(reason)
        self.code = code


class RunError(PhloemError):
    """A run started and could not finish."""
