"""Says back what you said, or streams tokens."""

import asyncio

import app as cl


@cl.on_message
async def main(message: cl.Message) -> None:
    """Say it back, or stream tokens."""
    if not message.content.startswith("stream"):
        await cl.Message(content=message.content).send()
        return
    pause = 0.02 if message.content == "stream slowly" else 0
    answer = cl.Message()
    for _ in range(500):
        await answer.stream_token(" token")
        await asyncio.sleep(pause)
    await answer.send()
