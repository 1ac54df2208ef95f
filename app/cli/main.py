"""Entry point of ``embedgate``."""

import typer

from app.cli.apply import apply
from app.cli.batch import batch_app
from app.cli.config import config_app
from app.cli.ledger import ledger_app
from app.cli.resources import endpoint_app, key_app, project_app
from app.cli.usage import usage

cli = typer.Typer(help="Operate an Embedgate service.", no_args_is_help=True, pretty_exceptions_show_locals=False)
cli.command()(apply)
cli.command()(usage)
cli.add_typer(batch_app, name="batch")
cli.add_typer(config_app, name="config")
cli.add_typer(project_app, name="project")
cli.add_typer(endpoint_app, name="endpoint")
cli.add_typer(key_app, name="key")
cli.add_typer(ledger_app, name="ledger")


def main() -> None:
    """Run the command line."""
    cli()
