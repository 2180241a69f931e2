"""The agents that the playground's tests talk with."""

from __future__ import annotations

from tests.support.server import ParleyServer

WORDS = 60

_COUNTER = f'''
"""Streams words, and stops in the middle until it is let on."""
import os
from pathlib import Path

import app as cl

@cl.on_message
async def main(message):
    gate = Path(os.environ["PARLEY_DATA_DIR"]) / message.content
    answer = cl.Message()
    for k in range({WORDS}):
        await answer.stream_token(f"{{message.content}}{{k}} ")
        await cl.sleep(0.01)
        while k == {WORDS // 2} and not gate.exists():
            await cl.sleep(0.02)
    await answer.send()
'''

_ECHO = '''
"""Says the same, whole."""
import app as cl

@cl.on_message
async def main(message):
    await cl.Message(content=message.content).send()
'''

_TOKENS = '''
"""Says the same, in small pieces."""
import app as cl

@cl.on_message
async def main(message):
    answer = cl.Message()
    for start in range(0, len(message.content), 4):
        await answer.stream_token(message.content[start:start + 4])
        await cl.sleep(0.002)
    await answer.send()
'''

_MOODY = '''
"""Goes wrong, changes its mind, or takes back what it said."""
import app as cl

@cl.on_message(policy="reject")
async def main(message):
    match message.content:
        case "fail":
            raise RuntimeError("inside")
        case "wait":
            await cl.sleep(3600)
        case "change":
            answer = await cl.Message("first").send()
            answer.content = "**second**"
            await answer.update()
        case "take back":
            answer = await cl.Message("never said").send()
            await cl.Message("said").send()
            await answer.remove()
        case "admit":
            await cl.ErrorMessage("my fault").send()

@cl.on_stop
async def stopped():
    await cl.Message("I was stopped.").send()
'''

MARKDOWN = """# Every kind of thing

A paragraph with *emphasis*, **weight**, `code`, ~~deletion~~, a [link](https://example.org/a?b=c&d) and
https://auto.example.org as it stands.

1. First
2. Second
   - nested
   - again

> A quotation
> of two lines.

```python
def fold(log):
    return [event for frame in log for event in frame["events"] if event["type"] not in {"RUN_STARTED", "RUN_ERROR"}]
```

## A table

| Name | What it is | Number |
| :--- | --- | ---: |
| `seq` | where an event stands in the log, counted from one | 1 |
| `mark` | under which lease it was written, opaque to clients | 22 |

![a picture of elsewhere](https://images.example.org/cat.png)

---

The end, with a [reference][later] and one without.

[later]: https://example.org/reference
"""

_WRITER = f'''
"""Answers with everything that Markdown has."""
import app as cl

TEXT = {MARKDOWN!r}

@cl.on_message
async def main(message):
    await cl.Message(content=TEXT).send()
'''

AGENTS = {"counter": _COUNTER, "echo": _ECHO, "moody": _MOODY, "tokens": _TOKENS, "writer": _WRITER}


def let_on(server: ParleyServer, word: str) -> None:
    """Let the counter go on that was asked for this word, and all that will be."""
    (server.data / word).touch()
