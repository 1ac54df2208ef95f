"""The ``embedgate`` command: the client's commands, and those that know what the service runs on."""

from app.cli.main import cli, run
from deployments.doctor import doctor

cli.command()(doctor)


def main() -> None:
    """Run the command line."""
    run()
