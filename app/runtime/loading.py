"""Imports the handlers folder: every module or package directly in it is one agent."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from app import logs
from app.errors import HandlersError, NotOffered
from app.runtime.registry import PACKAGE, Agent, Registry, declared

log = logs.get(__name__)


def load(folder: Path, *, skip_broken: bool = False) -> Registry:
    """Import all agents of a folder. Called before the event loop starts, so that handlers may block at import.

    A module that raises NotOffered is left out, and kept in `not_offered` with its reason.
    Raises: HandlersError if the folder does not exist or holds no agent, or, unless `skip_broken`, for the first
    module that fails to import.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise HandlersError(f"PARLEY_HANDLERS: there is no folder {folder}")
    _prepare(folder)
    for name in _names(folder):
        hooks = len(declared.startup), len(declared.shutdown)
        try:
            _load_agent(name)
        except NotOffered as reason:
            _forget(name, *hooks)
            declared.not_offered[name] = str(reason)
            log.info("agent_not_offered", agent=name, reason=str(reason))
        except HandlersError as error:
            _forget(name, *hooks)
            if not skip_broken:
                raise
            log.warning("agent_skipped", agent=name, reason=str(error), traceback=error.detail)
    if not declared.agents:
        left_out = "".join(f"; {name} is not offered: {why}" for name, why in declared.not_offered.items())
        raise HandlersError(f"PARLEY_HANDLERS: no agent in {folder}{left_out}")
    return declared


def _forget(name: str, startup: int, shutdown: int) -> None:
    """Take back what a module registered, the worker's hooks behind the first ones included."""
    declared.agents.pop(name, None)
    del declared.startup[startup:], declared.shutdown[shutdown:]


def _prepare(folder: Path) -> None:
    """Make the package the agents live in, empty of what an earlier load left."""
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]
    for table in (declared.agents, declared.not_offered, declared.startup, declared.shutdown):
        table.clear()
    package = ModuleType(PACKAGE)
    package.__path__ = [str(folder)]
    sys.modules[PACKAGE] = package
    importlib.invalidate_caches()


def _names(folder: Path) -> list[str]:
    modules = {path.stem for path in folder.glob("*.py")}
    packages = {path.parent.name for path in folder.glob("*/__init__.py")}
    names = sorted(name for name in modules | packages if not name.startswith("_"))
    for name in names:
        if not name.isidentifier():
            raise HandlersError(f"{folder / name}: {name!r} cannot be an agent's name: use letters, digits and _")
        if name in modules and name in packages:
            raise HandlersError(f"{folder / name}: there is both a module and a package of this name")
    return names


def _load_agent(name: str) -> None:
    try:
        module = importlib.import_module(f"{PACKAGE}.{name}")
    except (HandlersError, NotOffered):
        raise
    except (Exception, SystemExit) as error:  # whatever an author's module may raise
        where = _where(error)
        raise HandlersError(
            f"agent {name} does not load: {type(error).__name__}: {error} ({where})", traceback.format_exc()
        ) from error
    agent = declared.agents.get(name)
    if agent is None or not agent.hooks:
        raise HandlersError(
            f"{module.__file__} registers no handler: add one with @on_message, or name it _{name} if it is no agent"
        )
    agent.description = _first_line(module)


def _where(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}"


def _first_line(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().partition("\n")[0]


__all__ = ["Agent", "Registry", "load"]
