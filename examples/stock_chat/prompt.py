"""The prompt of the language model: an example of a good answer, earlier messages, and the question."""

from collections.abc import Sequence

from openai.types.chat import ChatCompletionMessageParam

from examples.stock_chat.conversations import Message

EXAMPLE_QUESTION = "What should I know about Northern Rail (112040)?"
EXAMPLE_ANSWER = (
    "Northern Rail runs trains between the ports and the inland cities. Most of its income comes from freight contracts "
    "that last for several years, so its sales move little from one quarter to the next. Its costs depend on fuel, wages "
    "and the price of new track. When fuel becomes dearer, the margin shrinks, because contracts pass on higher prices "
    "only after some months. The company pays out about half of its profit. Over the next year three things matter: how "
    "much freight the ports handle, whether the new line opens in time, and how quickly the debt for it can be paid back."
)


def prompt(question: str, before: Sequence[Message]) -> list[ChatCompletionMessageParam]:
    """Return the model's messages, oldest first."""
    messages: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": EXAMPLE_QUESTION},
        {"role": "assistant", "content": EXAMPLE_ANSWER},
    ]
    for message in before:
        if message.role == "user":
            messages.append({"role": "user", "content": message.content})
        else:
            messages.append({"role": "assistant", "content": message.content})
    messages.append({"role": "user", "content": question})
    return messages
