"""Talks to a language model behind any OpenAI-compatible endpoint: PARLEY_LLM_BASE_URL, PARLEY_LLM_MODEL."""

import ast
import json
import logging
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from math import isfinite
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

import app as cl


class Settings(BaseSettings):
    """Where the model is: from the environment, or from `.env`. Without an address and a model's name there is none."""

    model_config = SettingsConfigDict(
        env_prefix="PARLEY_LLM_", env_file=".env", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True
    )

    base_url: str | None = None
    api_key: SecretStr = SecretStr("none")  # a local server wants none, and OPENAI_API_KEY is for OpenAI alone
    model: str = ""
    timeout: float = Field(default=60, gt=0)


SETTINGS = Settings()
if not (SETTINGS.base_url and SETTINGS.model):
    raise cl.NotOffered("set PARLEY_LLM_BASE_URL and PARLEY_LLM_MODEL, and PARLEY_LLM_API_KEY if it wants a key")

# not at the top: it takes seconds, and may not be there: pip install 'parley-server[llm]'
import openai  # noqa: E402
from openai.types import chat  # noqa: E402

log = logging.getLogger(__name__)

INSTRUCTIONS = "You are a helpful assistant. Calculate with the calculator, never in your head."
MOST_ROUNDS = 8
MOST_CALLS = 16
MOST_CHARACTERS = 256 * 1024
LONGEST_EXPRESSION = 200
LONGEST_NAME = 64

CUT: dict[str | None, str] = {
    None: "The model broke off in the middle of its answer.",
    "length": "The answer is cut: it reached the model's limit.",
    "content_filter": "The answer is cut: the model's provider filtered it.",
}
"""What is said of an answer that ended so. Any other end is a good one."""


# ---- what the model may call

OPERATORS: dict[type[ast.AST], Callable[..., Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


class ToolError(Exception):
    """A tool cannot do what it was asked for; the text is for the model."""


def calculate(expression: str) -> str:
    """The value of an arithmetic expression, with 28 digits. Nothing in it is run as Python. Raises: ToolError."""
    if len(expression) > LONGEST_EXPRESSION:
        raise ToolError(f"expression has {len(expression)} characters, at most {LONGEST_EXPRESSION}")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        with localcontext(Context(prec=28, Emax=99, Emin=-99)):  # no power takes long, or has more digits
            return f"{_value(tree.body).normalize():f}"
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
        raise ToolError(f"cannot calculate this: {type(error).__name__}: {error}") from None


def _value(node: ast.expr) -> Decimal:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool) and isfinite(number):
            return Decimal(str(number))
        case ast.BinOp(left, op, right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_value(left), _value(right))
        case ast.UnaryOp(op, operand) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_value(operand))
    raise ToolError("an expression is made of numbers, brackets, and + - * / **")


TOOLS: dict[str, Callable[[str], str]] = {"calculator": calculate}
"""Each takes one text, its `input`."""

DESCRIPTIONS: list[chat.ChatCompletionToolParam] = [
    {
        "type": "function",
        "function": {
            "name": "calculator",
            "description": "Calculates an expression of numbers, brackets, and + - * / **.",
            "parameters": {
                "type": "object",
                "properties": {"input": {"type": "string", "maxLength": LONGEST_EXPRESSION}},
                "required": ["input"],
                "additionalProperties": False,
            },
        },
    }
]


# ---- the conversation with the model


class AnswerError(Exception):
    """The model's answer is of no use; the text is for the user."""


@dataclass
class Call:
    """A tool call, put together from its pieces."""

    id: str = ""
    name: str = ""
    arguments: str = ""

    def add(self, piece: Any) -> None:
        """Take in one piece: an id and a name come once, the arguments bit by bit."""
        self.id = piece.id or self.id
        if piece.function is not None:
            self.name = self.name or piece.function.name or ""
            self.arguments += piece.function.arguments or ""

    def wire(self) -> chat.ChatCompletionMessageFunctionToolCallParam:
        """The call as it is said back to the model."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}

    def input(self) -> Any:
        """The arguments, or their text if it is not JSON."""
        try:
            return json.loads(self.arguments)
        except (ValueError, RecursionError):
            return self.arguments

    def result(self) -> str:
        """What the tool says. Raises: ToolError."""
        tool, given = TOOLS.get(self.name), self.input()
        if tool is None:
            raise ToolError(f"there is no such tool, only {', '.join(TOOLS)}")
        if not isinstance(given, dict) or not isinstance(given.get("input"), str):
            raise ToolError("the arguments are not an object with a text as its input")
        return tool(given["input"])


class Answer:
    """What the model says in one go: words, which are shown as they come, and the tools it calls."""

    def __init__(self) -> None:
        self.message = cl.Message(author=SETTINGS.model)
        self.calls: dict[int, Call] = {}
        self.end: str | None = None

    async def take(self, chunk: chat.ChatCompletionChunk) -> None:
        """Take in one piece of the stream. Raises: AnswerError if it has become too long."""
        for choice in chunk.choices:
            words = choice.delta.content or choice.delta.refusal or ""
            pieces = choice.delta.tool_calls or []
            for piece in pieces:
                self.calls.setdefault(piece.index, Call()).add(piece)
            size = len(self.message.content) + len(words) + sum(len(call.arguments) for call in self.calls.values())
            if size > MOST_CHARACTERS or len(self.calls) > MOST_CALLS:
                raise AnswerError(f"The model said too much: over {MOST_CHARACTERS} characters or {MOST_CALLS} calls.")
            if words:
                await self.message.stream_token(words)
            self.end = choice.finish_reason or self.end

    async def close(self) -> None:
        """Show that its words have ended."""
        if self.message.content:
            await self.message.send()

    def wire(self) -> chat.ChatCompletionAssistantMessageParam:
        """What was said, for the model to go on from."""
        calls = [call.wire() for call in self.calls.values()]
        return {"role": "assistant", "content": self.message.content or None, "tool_calls": calls}


client = openai.AsyncOpenAI(
    base_url=SETTINGS.base_url,
    api_key=SETTINGS.api_key.get_secret_value(),
    timeout=SETTINGS.timeout,  # between two pieces of the stream; the turn has its own
    max_retries=2,
)


async def ask(messages: Iterable[chat.ChatCompletionMessageParam]) -> Answer:
    """Have the model go on. Leaving this, by a stop too, closes the request. Raises: OpenAIError, AnswerError."""
    answer = Answer()
    try:
        async with await client.chat.completions.create(
            model=SETTINGS.model, messages=messages, tools=DESCRIPTIONS, stream=True
        ) as stream:
            async for chunk in stream:
                await answer.take(chunk)
    finally:
        await answer.close()
    if answer.end in CUT:
        raise AnswerError(CUT[answer.end])
    if not (answer.calls or answer.message.content):
        raise AnswerError("The model said nothing.")
    return answer


async def use(call: Call) -> chat.ChatCompletionToolMessageParam:
    """Do what the model calls for, as a step. What fails is said to the model, which may do better."""
    try:
        async with cl.Step(call.name[:LONGEST_NAME] or "tool", type="tool", input=call.input()) as step:
            try:
                step.output = said = call.result()
            except ToolError as error:
                step.output = str(error)
                raise
    except ToolError as error:
        said = f"error: {error}"
    return {"role": "tool", "tool_call_id": call.id, "content": said}


async def converse(messages: list[Any]) -> None:
    """Have the model answer, and do what it calls for until it has. Raises: OpenAIError, AnswerError."""
    for _ in range(MOST_ROUNDS):
        answer = await ask(messages)
        if not answer.calls:
            return
        messages += [answer.wire(), *[await use(call) for call in answer.calls.values()]]
    raise AnswerError(f"The model called tools {MOST_ROUNDS} times and has not answered.")


@cl.on_message
async def main() -> None:
    """Go on with the conversation; what goes wrong is said in words."""
    try:
        await converse([{"role": "system", "content": INSTRUCTIONS}, *cl.chat_context.to_openai()])
    except AnswerError as error:
        await cl.ErrorMessage(str(error)).send()
    except openai.OpenAIError as error:
        log.warning("llm_failed: %s: %s", type(error).__name__, error)
        await cl.ErrorMessage(_in_words(error)).send()


def _in_words(error: openai.OpenAIError) -> str:
    match error:
        case openai.APITimeoutError():
            return f"The model's server was silent for {SETTINGS.timeout:g} s."
        case openai.APIConnectionError():
            return "The model's server cannot be reached, or went away."
        case openai.APIStatusError():
            return f"The model's server refuses to answer: HTTP status {error.status_code}."
        case _:
            return "The model's server reports an error."


@cl.on_app_shutdown
async def close() -> None:
    """Let the connections go."""
    await client.close()
