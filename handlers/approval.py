"""Plans an errand, asks before it acts, and does each step once, whatever happens to its worker."""

import asyncio
import os
from pathlib import Path

import app as cl

LEDGER = Path(os.environ.get("APPROVAL_LEDGER", ".parley/approval.log"))
PLAN = ("write the notes", "tag the version", "publish the package", "tell everyone")
PAUSE = 0.1
MOST = 20


def plan_of(text: str) -> list[str]:
    """What the user listed, separated by `;` or lines; the standing plan if it is only one thing."""
    steps = [step.strip() for step in text.replace(";", "\n").splitlines() if step.strip()]
    return steps[:MOST] if len(steps) > 1 else list(PLAN)


@cl.make_async
def write_once(line: str) -> bool:
    """Add a line to the ledger unless it is there; whether it was added.

    A step that is cut off by its worker's death runs again: the line, with the turn's id in it, tells that it
    had already acted.
    """
    LEDGER.parent.mkdir(parents=True, exist_ok=True)
    with LEDGER.open("a+", encoding="utf-8") as ledger:
        ledger.seek(0)
        if f"{line}\n" in ledger:
            return False
        ledger.write(f"{line}\n")
        ledger.flush()
        os.fsync(ledger.fileno())
    return True


@cl.step(type="tool", durable=True)
async def carry_out(number: int, what: str) -> str:
    """Do one thing of the plan."""
    await asyncio.sleep(PAUSE)
    await write_once(f"{cl.context.turn.id} {number} {what}")
    await asyncio.sleep(PAUSE)
    return f"{number}. {what}: done"


@cl.on_message
async def main(message: cl.Message) -> None:
    """Show the plan, wait for a yes, and go through it."""
    plan = plan_of(message.content)
    await cl.Message("My plan:\n" + "\n".join(f"{number}. {what}" for number, what in enumerate(plan, 1))).send()
    choices = [cl.Action("approve", label="Go ahead"), cl.Action("decline", label="Leave it")]
    answer = await cl.AskActionMessage("Shall I?", choices, timeout=3600).send()
    if answer is None or answer["name"] != "approve":
        await cl.Message("Nothing was done.").send()
        return
    done = [await carry_out(number, what) for number, what in enumerate(plan, 1)]
    await cl.Message("\n".join(done)).send()
