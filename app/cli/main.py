"""The client's commands of ``embedgate``."""

import sys

import typer

from app.cli.apply import apply
from app.cli.batch import batch_app
from app.cli.config import config_app
from app.cli.ledger import ledger_app
from app.cli.output import choose
from app.cli.resources import endpoint_app, key_app, project_app
from app.cli.top import top
from app.cli.usage import usage

_HELP = """Operate an Embedgate service.

Begin with 'embedgate doctor', which looks this machine over, and 'embedgate top', which shows a running service.
A project is set up by 'project create', 'endpoint create', 'project grant' and 'key create', or all at once from a
file by 'apply'. Every command takes --json, anywhere on the line, and then answers with one JSON document.

The service is the one of EMBEDGATE_URL and EMBEDGATE_ADMIN_TOKEN, or the one that 'make serve' runs in this folder;
'batch' speaks for a project, with OPENAI_BASE_URL and OPENAI_API_KEY.

Exit status: 0 done; 1 refused, or something was found wrong; 2 the command was not understood.
"""

cli = typer.Typer(help=_HELP, no_args_is_help=True, pretty_exceptions_show_locals=False)
cli.command()(apply)
cli.command()(top)
cli.command()(usage)
cli.add_typer(batch_app, name="batch")
cli.add_typer(config_app, name="config")
cli.add_typer(project_app, name="project")
cli.add_typer(endpoint_app, name="endpoint")
cli.add_typer(key_app, name="key")
cli.add_typer(ledger_app, name="ledger")


def run() -> None:
    """Run the command line."""
    cli(choose(sys.argv[1:]))
