"""Says back what you said."""

import app as cl


@cl.on_message
async def main(message: cl.Message) -> None:
    """Answer with the message's own text."""
    await cl.Message(content=f"Received: {message.content}").send()
