"""llm_span: records one call of a language model by a task, as a span of its trace and as usage of its job."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final

from sidelane.model.history import MAX_USAGE, NO_USAGE, Usage
from sidelane.model.json_text import escape_surrogates
from sidelane.tasks.context import current_context
from sidelane.telemetry.tracer import NO_TRACER, AttributeValue, SpanKind

MAX_CONTENT: Final = 64 * 1024
"""Characters of the messages of a prompt or of an answer in a span, as JSON text. What is beyond them is cut off."""

Messages = str | Sequence[object]
"""A text, or messages as OpenAI takes and returns them: objects or mappings, each with `role` and `content`."""


class LlmSpan:
    """One call of a language model. A task tells it what the provider answers."""

    def __init__(self, *, recorded: bool) -> None:
        self._recorded = recorded
        self._started = time.monotonic()
        self._usage = NO_USAGE
        self._attributes: dict[str, AttributeValue] = {}

    def response(self, part: object) -> None:
        """Read the model, the tokens and the time of the first token from a response, or from each chunk of a stream.

        This understands the objects of OpenAI, and those of other clients that have `model` and `usage` too. A stream of OpenAI
        has tokens only with `stream_options={"include_usage": True}`.
        """
        if _has_output(part):
            self.first_token()
        if model := getattr(part, "model", None):
            self._attributes["gen_ai.response.model"] = str(model)
        if (usage := getattr(part, "usage", None)) is not None:
            self.usage(
                input_tokens=_count(usage, "input_tokens", "prompt_tokens"),
                output_tokens=_count(usage, "output_tokens", "completion_tokens"),
            )

    def first_token(self) -> None:
        """Record that the first token is there. Only the first call counts."""
        self._attributes.setdefault("gen_ai.response.time_to_first_chunk", time.monotonic() - self._started)

    def usage(
        self, *, input_tokens: int | None = None, output_tokens: int | None = None, cost: float | None = None
    ) -> None:
        """Record what the call used so far, with a cost in any currency. Later numbers replace earlier ones.

        Raises ValueError if a number is negative, not finite or too large.
        """
        before = self._usage
        self._usage = Usage(
            input_tokens=before.input_tokens if input_tokens is None else input_tokens,
            output_tokens=before.output_tokens if output_tokens is None else output_tokens,
            cost=before.cost if cost is None else cost,
        )

    def input(self, messages: Messages) -> None:
        """Record the prompt in the span. Prompts are personal data, so a span has none without this call."""
        self._set_messages("gen_ai.input.messages", "user", messages)

    def output(self, messages: Messages) -> None:
        """Record the answer in the span. A span has none without this call."""
        self._set_messages("gen_ai.output.messages", "assistant", messages)

    @property
    def used(self) -> Usage:
        """What the call used so far."""
        return self._usage

    @property
    def attributes(self) -> Mapping[str, AttributeValue]:
        """The attributes of the span that became known during the call."""
        used = {f"gen_ai.usage.{name}": amount for name, amount in asdict(self._usage).items() if amount}
        return self._attributes | used

    def _set_messages(self, name: str, role: str, messages: Messages) -> None:
        if self._recorded:
            listed = [{"role": role, "content": messages}] if isinstance(messages, str) else messages
            parts = [_message(each) for each in listed]
            text = json.dumps(parts, ensure_ascii=False, default=str, skipkeys=True)
            self._attributes[name] = escape_surrogates(text[:MAX_CONTENT])


@contextmanager
def llm_span(operation: str, *, model: str, provider: str, conversation: str | None = None) -> Iterator[LlmSpan]:
    """Record a call of a language model that is made within the block.

    `operation` is that of the GenAI conventions of OpenTelemetry, such as "chat", "embeddings" or "text_completion". `conversation`
    is the id of the session that the call belongs to. Tokens and cost are counted for the job and in the history, also if the block
    fails, and without tracing. Outside of an attempt nothing is recorded.
    """
    context = current_context.get()
    tracer = NO_TRACER if context is None else context.tracer
    attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "gen_ai.conversation.id": conversation,
        "user.id": None if context is None else context.user,
    }
    known = {name: value for name, value in attributes.items() if value is not None}
    with tracer.span(f"{operation} {model}", kind=SpanKind.CLIENT, attributes=known) as span:
        call = LlmSpan(recorded=tracer.active)
        try:
            yield call
        finally:
            span.set(call.attributes)
            if context is not None and call.used != NO_USAGE:
                context.report_usage(**asdict(call.used))


def _has_output(part: object) -> bool:
    """Return whether a chunk of a stream of OpenAI has text or a call of a tool. The first chunk often has only a role."""
    deltas = [getattr(choice, "delta", None) for choice in getattr(part, "choices", None) or ()]
    return any(getattr(delta, "content", None) or getattr(delta, "tool_calls", None) for delta in deltas)


def _count(usage: object, *names: str) -> int | None:
    """Return the number of tokens under the first name that has a valid one. A wrong answer of a provider must not fail a task."""
    found = (getattr(usage, name, None) for name in names)
    return next((count for count in found if type(count) is int and 0 <= count <= MAX_USAGE), None)


def _message(message: object) -> dict[str, Any]:
    """Return a message as the GenAI conventions write it: a role and parts."""
    role, content = (
        message.get(name) if isinstance(message, Mapping) else getattr(message, name, None)
        for name in ("role", "content")
    )
    parts = [{"type": "text", "content": content}] if isinstance(content, str) else content or []
    return {"role": role, "parts": parts}
