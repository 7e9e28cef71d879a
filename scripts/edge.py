"""Run the app on Flower's own engine on this machine, compare with the simulation, stop everything.

A SuperLink and two SuperNodes with TLS and registered keys, as docker-compose.yml has them. What crashes is
started again, and a run that was broken off goes on from its checkpoint.
Usage: scripts/edge [KEY=VALUE ...], settings of the run such as run.rounds=5.
Exit codes: 0 the run has the simulation's model and ledger, 2 bad input, 3 it has not, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import yaml
from rich.console import Console

from phloem.config import Experiment, parse_assignments
from phloem.errors import ConfigError, PhloemError, RunError
from phloem.ledger import Ledger
from phloem.simulation.run import new_directory, simulate
from phloem.summary import LEDGER_NAME, summarise
from phloem.table import closing_table
from scripts.edge_services import Services, apps_of, local_commands
from scripts.flower_secrets import NODES, make_secrets

ROOT = Path(__file__).resolve().parent.parent
START_PATIENCE_S, RUN_PATIENCE_S, LOOK_EVERY_S = 120.0, 900.0, 1.0
SUBMISSIONS = 5
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
}


def deploy(
    experiment: Experiment, folder: Path, meddle: Callable[[Services], None] = lambda services: None
) -> int:
    """Run the app of this checkout on two SuperNodes; return how often it had to be submitted.

    The run's folder is the experiment's. `meddle` is called once the services run, for tests of crashes.

    Raises:
        RunError: the SuperLink does not come up, or the run does not finish.
    """
    home, secrets = folder / "flwr-home", folder / "secrets"
    home.mkdir(parents=True)
    make_secrets(secrets)
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    commands, ports = local_commands(compose, secrets)
    (folder / "state").mkdir()
    authority, address = secrets / "authority.pem", f"127.0.0.1:{ports['superlink']}"
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "edge"\n\n[superlink.edge]\n'
        f'address = "{address}"\nroot-certificates = "{authority}"\n'
    )
    env = {**os.environ, **QUIET, "FLWR_HOME": str(home), "PYTHONPATH": str(ROOT)}
    with Services(commands, folder, env) as services:
        services.start("superlink", "superexec-server")
        wait_for(f"https://{address}/health", authority)
        for name in NODES:
            public = str(secrets / f"{name}.node.pub")
            _flwr(["supernode", "register", public, "edge", "--name", name], env)
        services.start(*(name for name in commands if not name.startswith(("superlink", "superexec-server"))))
        meddle(services)
        for submission in range(1, SUBMISSIONS + 1):
            _submit(experiment, services, env, resume=submission > 1)
            if _state(experiment) == "finished":
                return submission
    found = _state(experiment)
    raise RunError(f"The run should have finished. Found {found!r}, submitted {SUBMISSIONS} times.")


def _submit(experiment: Experiment, services: Services, env: dict[str, str], *, resume: bool) -> None:
    """Hand the run to the SuperLink and wait until it is over, or its ServerApp gone."""
    flat = {**experiment.to_flat(), "run.resume": resume}
    values = " ".join(f"{key}={_toml(value)}" for key, value in flat.items())
    _flwr(["run", ".", "edge", "--run-config", values], env)
    deadline, seen = time.monotonic() + RUN_PATIENCE_S, False
    while time.monotonic() < deadline:
        alive = bool(apps_of(services.pid("superexec-server"), "flwr-serverapp"))
        seen = seen or alive
        if seen and not alive:
            return
        time.sleep(LOOK_EVERY_S)
    raise RunError(f"The run should be over within {RUN_PATIENCE_S:g} s. Found it still going.")


def _state(experiment: Experiment) -> str:
    path = Path(experiment.run.directory) / LEDGER_NAME
    if not path.exists():
        return "not begun"
    with Ledger.open(path) as ledger:
        return ledger.facts().get("state", "unknown")


def _flwr(arguments: list[str], env: dict[str, str]) -> None:
    command = ["flwr", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=RUN_PATIENCE_S
    )
    if done.returncode:
        raise RunError(f"`flwr {' '.join(arguments[:2])}` failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")


def wait_for(url: str, authority: Path) -> None:
    """Return when the SuperLink answers.

    Raises:
        RunError: it does not.
    """
    trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(authority)))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), trust)
    deadline = time.monotonic() + START_PATIENCE_S
    while True:
        try:
            with opener.open(url, timeout=2):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise RunError(
                    f"The SuperLink should answer within {START_PATIENCE_S:g} s. Found: {error}."
                ) from None
            time.sleep(0.2)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def main(arguments: list[str]) -> int:
    """Deploy, show the ledger's table, and check the model against the simulation's."""
    console = Console()
    settings = {
        "run.rounds": 3,
        **parse_assignments(arguments),
        "data.clients": len(NODES),
        "run.reference": False,
    }
    experiment = Experiment().with_values(settings)
    directory = new_directory(experiment).resolve()
    experiment = experiment.with_values({"run.directory": str(directory)})
    with tempfile.TemporaryDirectory(prefix="phloem-edge-") as scratch:
        folder = Path(scratch)
        try:
            deploy(experiment, folder)
        except Exception:
            for log in sorted(folder.glob("*.log")):
                console.rule(log.name)
                console.out(log.read_text(errors="replace")[-2000:], highlight=False)
            raise
    summary = summarise(directory)
    console.print(closing_table(summary))
    simulated = summarise(simulate(experiment, directory / "simulated"))
    console.out(f"model  on Flower's engine {summary.model_sha256}", highlight=False)
    console.out(f"       simulated          {simulated.model_sha256}", highlight=False)
    console.out(f"ledger on Flower's engine {summary.ledger_sha256}", highlight=False)
    console.out(f"       simulated          {simulated.ledger_sha256}", highlight=False)
    console.out(f"folder {directory}", highlight=False)
    equal = (summary.model_sha256, summary.ledger_sha256) == (
        simulated.model_sha256,
        simulated.ledger_sha256,
    )
    return 0 if equal and summary.model_sha256 is not None else 3


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except (PhloemError, subprocess.SubprocessError) as error:
        print(f"scripts/edge: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 3)
