"""`phloem resume`: go on with a run that was broken off."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phloem.cli.console import JsonFlag, exit_codes
from phloem.cli.run import run_and_show


def resume(
    run: Annotated[Path, typer.Argument(help="The folder of a run that was killed or interrupted.")],
    as_json: JsonFlag = False,
) -> None:
    """Go on with a simulated run from its last whole checkpoint, to the bits it would have come to anyway."""
    with exit_codes():
        from phloem.simulation import run as simulation  # not before it is needed: torch takes seconds

        run_and_show(lambda on_progress: simulation.resume(run, on_progress=on_progress), run, as_json)
