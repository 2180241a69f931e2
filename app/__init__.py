"""Parley: write conversational agents as plain async Python handlers.

What agent authors use is here, under the names Chainlit's users know: `import app as cl`. Importing it
starts nothing.
"""

from app.chat.callbacks import (
    on_app_shutdown,
    on_app_startup,
    on_chat_end,
    on_chat_resume,
    on_chat_start,
    on_message,
    on_stop,
)
from app.chat.chat_context import chat_context
from app.chat.message import ErrorMessage, Message
from app.chat.session import session
from app.chat.state import state
from app.chat.tools import sleep
from app.chat.user_session import context, user_session
from app.errors import ExecutorBusy, OutsideTurn, ParleyError, SessionStateError
from app.executor import make_async, run_sync

__all__ = [
    "ErrorMessage",
    "ExecutorBusy",
    "Message",
    "OutsideTurn",
    "ParleyError",
    "SessionStateError",
    "chat_context",
    "context",
    "make_async",
    "on_app_shutdown",
    "on_app_startup",
    "on_chat_end",
    "on_chat_resume",
    "on_chat_start",
    "on_message",
    "on_stop",
    "run_sync",
    "session",
    "sleep",
    "state",
    "user_session",
]
