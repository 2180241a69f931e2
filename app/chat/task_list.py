"""Task lists: what is to be done, and how far it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.protocol import events
from app.runtime import context

MAX_TASKS = 200
"""Tasks of one list."""
MAX_TITLE = 500
"""Characters of a task's title, and of a list's status."""


class TaskStatus(StrEnum):
    """How far a task is."""

    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(slots=True)
class Task:
    """One thing to do. `for_id` is a message to go to from it. Its members may be changed; `update` shows it."""

    title: str
    status: TaskStatus = TaskStatus.READY
    for_id: str | None = None

    def wire(self) -> dict[str, Any]:
        """The task as clients see it. Raises: ValueError if its title is too long or its status none."""
        made = {"title": _bounded("a task's title", self.title), "status": TaskStatus(self.status).value}
        return made if self.for_id is None else {**made, "forId": self.for_id}


class TaskList:
    """A list of at most 200 tasks, shown by `send`, and anew by `update`. What is open stays so: it has no end."""

    def __init__(self, tasks: Iterable[Task] = (), status: str = "Ready") -> None:
        self.tasks = list(tasks)
        self.status = status
        self.id = ""

    async def add_task(self, task: Task) -> None:
        """Add a task; it is shown at the next `send` or `update`."""
        self.tasks.append(task)

    async def send(self) -> None:
        """Show the list as it is now.

        Raises: OutsideTurn; ValueError if it has more than 200 tasks, or a text of it is over 500 characters.
        """
        turn = context.turn()
        if len(self.tasks) > MAX_TASKS:
            raise ValueError(f"a task list has {len(self.tasks)} tasks, at most {MAX_TASKS}")
        self.id = self.id or turn.new_id()
        tasks = [task.wire() for task in self.tasks]
        content = {"status": _bounded("a task list's status", self.status), "tasks": tasks}
        await turn.emit([events.task_list(self.id, content)], size=128 * (len(tasks) + 1))

    async def update(self) -> None:
        """The same as `send`."""
        await self.send()

    async def remove(self) -> None:
        """Take the list out of the conversation. Raises: OutsideTurn."""
        if self.id:
            await context.turn().emit([events.message_removed(self.id)])


def _bounded(what: str, text: str) -> str:
    if len(text) > MAX_TITLE:
        raise ValueError(f"{what} has {len(text)} characters, at most {MAX_TITLE}")
    return text
