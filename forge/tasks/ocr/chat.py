"""What stands around a page in the words of a model: the prompt before its answer, and what ends the answer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from forge.core.errors import UserError

_ANSWER = "§answer§"


@dataclass(frozen=True)
class Chat:
    """`prompt` is text with one place for an image; an answer is `lead`, then Markdown, then the tokens `tail`."""

    prompt: str
    lead: str
    tail: tuple[int, ...]
    special: bool | None  # whether the tokenizer adds its own tokens around the prompt; None leaves it to the processor

    @property
    def asked(self) -> dict[str, bool]:
        """Options of the processor for the prompt."""
        return {} if self.special is None else {"add_special_tokens": self.special}


def chat_of(processor: Any, instruction: str, first: bool, ends: Collection[int], end: int) -> Chat:
    """The chat template's words around an image and an instruction, which stands before the image where `first`.

    `ends` are the tokens at which the model stops. An answer ends as the template ends it, up to the first of these; in
    the token `end` where the template, or the lack of one, names none. Raises UserError for a template that takes no
    image.
    """
    template = getattr(processor, "chat_template", None)
    if template is None:
        image = str(getattr(processor, "image_token", None) or "<image>")
        parts = [instruction, image] if first else [image, instruction]
        return Chat("".join(parts) + ("\n" if instruction else ""), "", (end,), None)
    said = [{"type": "text", "text": instruction}] if instruction else []
    content = [*said, {"type": "image"}] if first else [{"type": "image"}, *said]
    asked = [{"role": "user", "content": content}]
    answered = [*asked, {"role": "assistant", "content": [{"type": "text", "text": _ANSWER}]}]
    try:
        prompt = str(processor.apply_chat_template(asked, add_generation_prompt=True, tokenize=False))
        whole = str(processor.apply_chat_template(answered, add_generation_prompt=False, tokenize=False))
    except Exception as error:  # what a template raises is its own
        raise UserError(f"model.name: its chat template does not take a page: {str(error)[:200]}") from error
    before, _, after = whole.partition(_ANSWER)
    lead = before.removeprefix(prompt) if before.startswith(prompt) else ""
    tail = processor.tokenizer(after, add_special_tokens=False)["input_ids"]
    places = [place for place, token in enumerate(tail) if token in ends]
    closing = tuple(tail[: places[0] + 1]) if places else (*tail, end)
    begins = processor.tokenizer.bos_token
    return Chat(prompt, lead, closing, False if begins and prompt.startswith(begins) else None)
