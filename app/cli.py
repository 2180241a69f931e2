"""The command `parley`: serve, chat, check."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app import logs, terminal
from app.errors import ConfigError, HandlersError
from app.runtime.loading import load
from app.server import serve as run_server
from app.settings import load as load_settings

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Handlers = Annotated[Path | None, typer.Option(help="The folder whose modules are the agents.")]
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Leave out agents that do not load.")]


@cli.command()
def serve(
    *,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(help="How many worker processes.")] = None,
    handlers: Handlers = None,
    reload: Annotated[bool, typer.Option("--reload", help="Start anew when a handler changes.")] = False,
    skip_broken: SkipBroken = False,
) -> None:
    """Serve the agents of a folder."""
    settings = load_settings(host=host, port=port, workers=workers, handlers=handlers)
    logs.configure(settings.log_level, settings.log_format)
    run_server(settings, reload=reload, skip_broken=skip_broken)


@cli.command()
def chat(
    url: Annotated[str, typer.Argument(help="The server's address.")] = "http://127.0.0.1:8000",
    *,
    agent: Annotated[str | None, typer.Option(help="The agent to talk to.")] = None,
    once: Annotated[str | None, typer.Option(help="Say this, print the answer, and leave.")] = None,
    session: Annotated[str | None, typer.Option(help="The session to resume.")] = None,
    token: Annotated[str | None, typer.Option(envvar="PARLEY_TOKEN", help="The bearer token to sign in with.")] = None,
) -> None:
    """Talk to an agent in the terminal."""
    raise typer.Exit(terminal.chat(url, agent, once, token, session))


@cli.command()
def check(*, handlers: Handlers = None, skip_broken: SkipBroken = False) -> None:
    """Load the agents, print them and their hooks."""
    settings = load_settings(handlers=handlers)
    logs.configure(settings.log_level, settings.log_format)
    registry = load(settings.handlers, skip_broken=skip_broken)
    table = Table("agent", "hooks", "description")
    for agent in sorted(registry.agents.values(), key=lambda agent: agent.name):
        table.add_row(agent.name, ", ".join(sorted(agent.hooks)), agent.description)
    console = Console()
    console.print(table)
    for name, reason in sorted(registry.not_offered.items()):
        console.print(f"{name} is not offered: {reason}", markup=False, soft_wrap=True)


def main() -> None:
    """Run the command; what an operator has to change is said in one line, with exit code 1."""
    try:
        cli()
    except HandlersError as error:
        sys.stderr.write(f"{error.detail}parley: {error}\n")
        raise SystemExit(1) from None
    except ConfigError as error:
        sys.stderr.write(f"parley: {error}\n")
        raise SystemExit(1) from None
