"""Greedy and beam search that let go of a text once it has ended, for `generate(custom_generate=search)`.

transformers goes on with a whole batch until its last text ends. Here rows leave, so a batch may be large and its texts
of any length. Every text is the one that transformers finds, up to rounding. What else is saved: beams share one
encoding and one first step, keys and values of the source are not put in order anew at every token, and the likeliest
tokens are looked for in a row's best blocks alone.

Shape letters: B texts, K beams, N = B·K rows of the decoder, C candidates a text, T tokens so far, V tokens of the
vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import EncoderDecoderCache
from transformers.cache_utils import DynamicLayer
from transformers.generation import GenerationMode, logits_process, stopping_criteria
from transformers.modeling_outputs import BaseModelOutput

from forge.models.watch import Ending, Scoring

NEVER = -1.0e9  # the score of what must not be taken
BLOCK = 64  # tokens whose largest score is looked at first
LEAVING = 8  # rows leave when they are one in so many: each time costs a copy of the others
KNOWN_INPUTS = {"encoder_outputs", "past_key_values", "use_cache"}  # and attention_mask, which images have none of
ROW_BY_ROW = (  # what they do to a row depends on its own tokens alone
    logits_process.ForcedBOSTokenLogitsProcessor,
    logits_process.ForcedEOSTokenLogitsProcessor,
    logits_process.MinLengthLogitsProcessor,
    logits_process.NoBadWordsLogitsProcessor,
    logits_process.NoRepeatNGramLogitsProcessor,
    logits_process.RepetitionPenaltyLogitsProcessor,
    logits_process.SuppressTokensLogitsProcessor,
)
SEARCHES = {GenerationMode.GREEDY_SEARCH, GenerationMode.BEAM_SEARCH}
ENDINGS = (stopping_criteria.MaxLengthCriteria, stopping_criteria.EosTokenCriteria)


class UnableError(Exception):
    """The model or its settings ask for what is not done here; transformers' own search does it."""


def search(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    **model_kwargs: Any,
) -> Tensor:
    """Token ids of the best texts, with what the decoder starts with, padded. Raises UnableError."""
    _check(logits_processor, stopping_criteria, generation_config, model_kwargs)
    rows = DecoderRows(model, logits_processor, generation_config.num_beams, model_kwargs)
    start_BT = input_ids[:: generation_config.num_beams]
    found = _Found(start_BT, generation_config)
    if generation_config.num_beams == 1:
        _greedy(rows, start_BT, found, [one for one in stopping_criteria if isinstance(one, Ending)])
    else:
        _beams(rows, start_BT, found)
    return found.texts_BKT.flatten(0, 1)


def _check(processors: Any, endings: Any, settings: Any, inputs: dict[str, Any]) -> None:
    cache = inputs.get("past_key_values")
    watched = settings.num_beams == 1  # beams change rows, which a watch does not follow
    able = (
        all(type(one) in ROW_BY_ROW or (watched and type(one) is Scoring) for one in processors)
        and all(type(one) in ENDINGS or (watched and type(one) is Ending) for one in endings)
        and {name for name, value in inputs.items() if value is not None} - {"attention_mask"} == KNOWN_INPUTS
        and isinstance(cache, EncoderDecoderCache)
        and settings.eos_token_id is not None
        and settings.get_generation_mode() in SEARCHES
        and not settings.return_dict_in_generate
    )
    if not able:
        raise UnableError


class DecoderRows:
    """The decoder's rows that are still being written, with what the model remembers of them.

    `inputs` are those that `generate` hands to a search: `past_key_values`, `encoder_outputs` and, of texts,
    `attention_mask`.
    """

    def __init__(self, model: Any, processors: Any, beams: int, inputs: dict[str, Any]) -> None:
        self._model, self._processors, self._beams = model, processors, beams
        self._cache: Any = inputs["past_key_values"]
        read = {"states": inputs["encoder_outputs"].last_hidden_state, "mask": inputs.get("attention_mask")}
        self._read = {name: part[::beams] for name, part in read.items() if part is not None}

    def first(self, ids_BT: Tensor) -> Tensor:
        """scores_BV of what comes first, the same for all beams of a text; then there are N rows."""
        scores_BV = self.next(ids_BT, ids_BT)
        if any(type(layer) is not DynamicLayer for layer in self._layers()):
            raise UnableError
        if self._beams > 1:
            self._cache.batch_repeat_interleave(self._beams)
            self._read = {name: part.repeat_interleave(self._beams, 0) for name, part in self._read.items()}
        return scores_BV

    def next(self, ids_NT: Tensor, new_Nt: Tensor) -> Tensor:
        """scores_NV of the next token: logits for a greedy search, log-probabilities for beams; in fp32."""
        logits_NV = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self._read["states"]),
            attention_mask=self._read.get("mask"),
            decoder_input_ids=new_Nt,
            past_key_values=self._cache,
            use_cache=True,
            return_dict=True,
        ).logits[:, -1]
        scores_NV: Tensor = logits_NV.float() if self._beams == 1 else logits_NV.float().log_softmax(-1)
        for processor in self._processors:
            scores_NV = processor(ids_NT, scores_NV)
        return scores_NV

    def order(self, rows_n: Tensor) -> None:
        """Row i goes on from what was written in row `rows_n[i]` of the same text."""
        self._cache.self_attention_cache.reorder_cache(rows_n)

    def keep(self, rows_n: Tensor) -> None:
        """Only these rows remain."""
        for layer in self._layers():
            layer.keys, layer.values = (x.index_select(0, rows_n) for x in (layer.keys, layer.values))
        self._read = {name: part.index_select(0, rows_n) for name, part in self._read.items()}

    def _layers(self) -> list[Any]:
        return [*self._cache.self_attention_cache.layers, *self._cache.cross_attention_cache.layers]


class _Found:
    """Texts that have ended, at their place in the batch, and what ends one."""

    def __init__(self, start_BT: Tensor, settings: Any) -> None:
        self.settings, self.prompt = settings, start_BT.shape[1]
        self.longest: int = settings.max_length
        end = settings.eos_token_id
        ends: list[int] = end if isinstance(end, list) else [end]
        self.ends = torch.tensor(ends, device=start_BT.device)
        self.padding = ends[0] if settings.pad_token_id is None else settings.pad_token_id
        shape = (len(start_BT), settings.num_return_sequences, self.longest)
        self.texts_BKT = start_BT.new_full(shape, self.padding)
        self._places = torch.arange(len(start_BT), device=start_BT.device)

    def leave(self, done_B: Tensor, ids_BKT: Tensor, all_of_them: bool) -> Tensor | None:
        """Take the texts that are done, if they are worth it; the numbers of those that stay, or None for all."""
        count = len(done_B) if all_of_them else int(done_B.sum())
        if not count or count * LEAVING < len(done_B):
            return None
        gone_B = done_B | all_of_them
        kept = self.texts_BKT.shape[1]
        self.texts_BKT[self._places[gone_B], :, : ids_BKT.shape[-1]] = ids_BKT[gone_B, :kept]
        self._places = self._places[~gone_B]
        return (~gone_B).nonzero().flatten()


def _greedy(rows: DecoderRows, ids_BT: Tensor, found: _Found, endings: Sequence[Ending]) -> None:
    done_B = torch.zeros(len(ids_BT), dtype=torch.bool, device=ids_BT.device)
    scores_BV = rows.first(ids_BT)
    while True:
        next_B = scores_BV.argmax(-1).masked_fill(done_B, found.padding)
        ids_BT = torch.cat((ids_BT, next_B[:, None]), 1)
        done_B = done_B | torch.isin(next_B, found.ends)
        for ending in endings:
            done_B = done_B | ending(ids_BT, None)
        stay = found.leave(done_B, ids_BT[:, None], ids_BT.shape[1] == found.longest)
        if stay is not None:
            if not len(stay):
                return
            ids_BT, done_B = ids_BT[stay], done_B[stay]
            rows.keep(stay)
            for ending in endings:
                ending.watch.keep(stay)
        scores_BV = rows.next(ids_BT, ids_BT[:, -1:])


@dataclass
class _Beams:
    """For each text the beams that go on, and the best that have ended."""

    ids_BKT: Tensor
    scores_BK: Tensor
    ended_BKT: Tensor
    ended_scores_BK: Tensor
    done_B: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.done_B = torch.zeros(len(self.ids_BKT), dtype=torch.bool, device=self.ids_BKT.device)

    def keep(self, texts_b: Tensor) -> None:
        """Only these texts remain."""
        for name, tensor in vars(self).items():
            setattr(self, name, tensor.index_select(0, texts_b))


def _beams(rows: DecoderRows, start_BT: Tensor, found: _Found) -> None:
    beams = found.settings.num_beams
    ids_BKT = start_BT[:, None].expand(-1, beams, -1)
    nothing_BK = torch.full(ids_BKT.shape[:2], NEVER, device=start_BT.device)
    scores_BK = nothing_BK.index_fill(1, nothing_BK.new_zeros(1, dtype=torch.long), 0.0)  # all begin as the first beam
    held = _Beams(ids_BKT, scores_BK, ids_BKT, nothing_BK)
    candidates = max(2, 1 + len(found.ends)) * beams
    values_NC, tokens_NC = largest(rows.first(start_BT), candidates)
    values_BKC, tokens_BKC = (x[:, None].expand(-1, beams, -1) for x in (values_NC, tokens_NC))
    while True:
        from_BK = _extend(held, values_BKC, tokens_BKC, found)
        ids_BKT, texts = held.ids_BKT, len(held.ids_BKT)
        at_once = ids_BKT.shape[-1] == found.longest
        stay = found.leave(held.done_B, held.ended_BKT, at_once)
        rows.order((from_BK + beams * torch.arange(texts, device=from_BK.device)[:, None]).flatten())
        if stay is not None:
            if not len(stay):
                return
            held.keep(stay)
            rows.keep((beams * stay[:, None] + torch.arange(beams, device=stay.device)).flatten())
        ids_NT = held.ids_BKT.flatten(0, 1)
        values_NC, tokens_NC = largest(rows.next(ids_NT, ids_NT[:, -1:]), candidates)
        values_BKC, tokens_BKC = (x.view(-1, beams, candidates) for x in (values_NC, tokens_NC))


def _extend(held: _Beams, values_BKC: Tensor, tokens_BKC: Tensor, found: _Found) -> Tensor:
    """Each text's beams become its best by one token that have not ended; from_BK says which ones they go on from."""
    settings, beams, length = found.settings, values_BKC.shape[1], held.ids_BKT.shape[-1] + 1
    candidates = values_BKC.shape[-1]
    scores_BC, places_BC = (values_BKC + held.scores_BK[..., None]).flatten(1).topk(candidates)
    of_BC, new_BC = places_BC // candidates, tokens_BKC.flatten(1).gather(1, places_BC)
    ids_BCT = torch.cat((_pick(held.ids_BKT, of_BC), new_BC[..., None]), -1)
    ends_BC = torch.isin(new_BC, found.ends) | (length >= found.longest)

    going_BC = scores_BC + ends_BC * NEVER
    held.scores_BK, next_BK = going_BC.topk(beams)
    held.ids_BKT = _pick(ids_BCT, next_BK)

    # Of the candidates only the first K may end; the others are there so that K are left to go on.
    last_BC = ends_BC & (torch.arange(candidates, device=ends_BC.device) < beams) & ~held.done_B[:, None]
    final_BC = torch.where(last_BC, scores_BC / (length - found.prompt) ** settings.length_penalty, NEVER)
    padded_BKT = torch.nn.functional.pad(held.ended_BKT, (0, 1), value=found.padding)
    held.ended_scores_BK, best_BK = torch.cat((held.ended_scores_BK, final_BC), 1).topk(beams)
    held.ended_BKT = _pick(torch.cat((padded_BKT, ids_BCT), 1), best_BK)
    held.done_B = held.done_B | _done(held, length, found)
    return of_BC.gather(1, next_BK)


def _done(held: _Beams, length: int, found: _Found) -> Tensor:
    """Which texts have K beams that ended and, unless that is enough, none that could still become better."""
    settings = found.settings
    full_B: Tensor = (held.ended_scores_BK > NEVER / 2).all(1)
    if settings.early_stopping is True:
        return full_B
    hopeful = settings.early_stopping == "never" and settings.length_penalty > 0.0
    best_B: Tensor = (
        held.scores_BK[:, 0] / ((found.longest if hopeful else length) - found.prompt) ** settings.length_penalty
    )
    none_better_B: Tensor = best_B <= held.ended_scores_BK[:, -1]
    return full_B & none_better_B


def largest(scores_NV: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """As topk: the largest lie in the blocks with the largest maxima, and a maximum is quick to find."""
    whole = scores_NV.shape[1] // BLOCK * BLOCK
    if whole < 4 * count * BLOCK:
        return scores_NV.topk(count)
    blocks_NGb = scores_NV[:, :whole].reshape(len(scores_NV), -1, BLOCK)
    best_NC = blocks_NGb.amax(-1).topk(count).indices
    in_blocks_NCb = blocks_NGb.gather(1, best_NC[..., None].expand(-1, -1, BLOCK))
    values_NC, places_NC = torch.cat((in_blocks_NCb.flatten(1), scores_NV[:, whole:]), 1).topk(count)
    in_block = places_NC < count * BLOCK
    block_NC = best_NC.gather(1, (places_NC // BLOCK).clamp(max=count - 1))
    tokens_NC = torch.where(in_block, block_NC * BLOCK + places_NC % BLOCK, whole + places_NC - count * BLOCK)
    return values_NC, tokens_NC


def _pick(of_BXT: Tensor, places_BY: Tensor) -> Tensor:
    return of_BXT.gather(1, places_BY[..., None].expand(-1, -1, of_BXT.shape[-1]))
