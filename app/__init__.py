"""Parley: write conversational agents as plain async Python handlers.

What agent authors use is here, under the names Chainlit's users know: `import app as cl`. Importing it
starts nothing.
"""

from app.chat.action import Action
from app.chat.ask import AskActionMessage, AskElementMessage, AskFileMessage, AskUserMessage
from app.chat.caching import cache
from app.chat.callbacks import (
    action_callback,
    author_rename,
    on_app_shutdown,
    on_app_startup,
    on_chat_end,
    on_chat_resume,
    on_chat_start,
    on_connect,
    on_disconnect,
    on_feedback,
    on_message,
    on_settings_update,
    on_stop,
    set_chat_profiles,
    set_starters,
)
from app.chat.chat_context import chat_context
from app.chat.chat_settings import ChatSettings
from app.chat.element import Audio, CustomElement, File, Image, Pdf, Text, Video
from app.chat.figures import Dataframe, Plotly, Pyplot
from app.chat.files import FileRef, files_of, open_file, read_file
from app.chat.input_widget import (
    Checkbox,
    DatePicker,
    MultiSelect,
    NumberInput,
    RadioGroup,
    Select,
    Slider,
    Switch,
    Tab,
    Tags,
    TextInput,
)
from app.chat.message import ErrorMessage, Message
from app.chat.people import ChatProfile, Connection, Feedback, Starter, User
from app.chat.session import session
from app.chat.state import state
from app.chat.step import Step
from app.chat.stepping import step
from app.chat.task_list import Task, TaskList, TaskStatus
from app.chat.toast import toast
from app.chat.tools import sleep
from app.chat.user_session import context, user_session
from app.errors import ExecutorBusy, NotOffered, OutsideTurn, ParleyError, SessionStateError
from app.executor import make_async, run_sync

__all__ = [
    "Action",
    "AskActionMessage",
    "AskElementMessage",
    "AskFileMessage",
    "AskUserMessage",
    "Audio",
    "ChatProfile",
    "ChatSettings",
    "Checkbox",
    "Connection",
    "CustomElement",
    "Dataframe",
    "DatePicker",
    "ErrorMessage",
    "ExecutorBusy",
    "Feedback",
    "File",
    "FileRef",
    "Image",
    "Message",
    "MultiSelect",
    "NotOffered",
    "NumberInput",
    "OutsideTurn",
    "ParleyError",
    "Pdf",
    "Plotly",
    "Pyplot",
    "RadioGroup",
    "Select",
    "SessionStateError",
    "Slider",
    "Starter",
    "Step",
    "Switch",
    "Tab",
    "Tags",
    "Task",
    "TaskList",
    "TaskStatus",
    "Text",
    "TextInput",
    "User",
    "Video",
    "action_callback",
    "author_rename",
    "cache",
    "chat_context",
    "context",
    "files_of",
    "make_async",
    "on_app_shutdown",
    "on_app_startup",
    "on_chat_end",
    "on_chat_resume",
    "on_chat_start",
    "on_connect",
    "on_disconnect",
    "on_feedback",
    "on_message",
    "on_settings_update",
    "on_stop",
    "open_file",
    "read_file",
    "run_sync",
    "session",
    "set_chat_profiles",
    "set_starters",
    "sleep",
    "state",
    "step",
    "toast",
    "user_session",
]
