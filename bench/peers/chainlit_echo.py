"""Chainlit's agent; runs in its own environment."""

import asyncio

import chainlit as cl


@cl.on_message
async def main(message: cl.Message) -> None:
    """Say it back, or stream tokens."""
    if not message.content.startswith("stream"):
        await cl.Message(content=message.content).send()
        return
    answer = cl.Message(content="")
    for _ in range(500):
        await answer.stream_token(" token")
        await asyncio.sleep(0)
    await answer.send()
