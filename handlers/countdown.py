"""Counts down from a number, aloud and slowly: a long answer to interrupt, resume and cancel."""

import app as cl

MOST = 10_000
PAUSE = 0.05


@cl.on_message
async def main(message: cl.Message) -> None:
    """Stream every number from the given one down to 1."""
    said = message.content.strip()
    if not said.isdecimal() or not 1 <= int(said) <= MOST:
        await cl.ErrorMessage(f"Give me a number from 1 to {MOST}.").send()
        return
    answer = cl.Message()
    for number in range(int(said), 0, -1):
        await answer.stream_token(f"{number} ")
        await cl.sleep(PAUSE)
    await answer.stream_token("Liftoff!")
    await answer.send()


@cl.on_stop
async def stopped() -> None:
    """Say so in the turn that was cancelled."""
    await cl.Message("Stopped.").send()
