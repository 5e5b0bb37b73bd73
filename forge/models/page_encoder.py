"""A small convolutional encoder of pages: a grey image becomes one state for each cell of 16 × 8 pixels.

With a TrOCR decoder (Li et al. 2023, arXiv 2109.10282) it is a `VisionEncoderDecoderModel` that reads pages. A plain
vision Transformer of this size, trained from nothing, does not learn to read in minutes, and this does. Importing this
module makes transformers load it by its name, `forge-page`.

Shape letters: B pages, C channels, H and W height and width in pixels or cells, D width of a state, L cells (row by
row).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput

STRIDE = (16, 8)
"""Height and width of a cell in pixels."""
_FOLD = 2  # pixels each way that become channels before the first convolution
_STRIDES = ((2, 1), (2, 2), (2, 2))  # with the fold they make STRIDE; strokes are narrow, so width is kept longer
_BAND = 24  # pixels above and below a row that say what is usual there: a line of text and its neighbours
_SMALLEST = 1e-3  # variance: an empty band is left empty, and not turned into noise
_AT_ONCE = 4  # pages
_MIDDLE, _SPREAD = 0.5, 0.25  # of grey levels: they become numbers from -2 to 2


class PageEncoderConfig(PretrainedConfig):  # type: ignore[misc]
    """The shape of a `PageEncoder`. The stem has half of `hidden_size` channels, then all of them."""

    model_type = "forge-page"

    hidden_size: int = 128
    num_hidden_layers: int = 3
    expansion: int = 2  # of the width inside a block
    kernel: list[int] | None = None  # height and width of a block's convolution in cells, both odd; None is 3 by 3
    num_channels: int = 1
    image_size: list[int] | None = None  # height and width of the sheet that it was trained on; it takes any other
    initializer_range: float = 0.02  # of what ends a block, so that a block begins as nearly nothing

    @property
    def stride(self) -> tuple[int, int]:
        """Height and width of a cell in pixels."""
        return STRIDE


class BandNorm(nn.Module):
    """Each channel to mean 0 and variance 1 over a band of the page, then a trained scale and shift; maps (B, C, H, W).

    The band of a row is the rows around it, over the page's whole width: instance normalisation (Ulyanov et al. 2016,
    arXiv 1607.08022) that does not see how much of the page is empty. No page knows of the others in its batch, so a
    step is the same however it is cut.
    """

    def __init__(self, channels: int, row_height: int) -> None:
        super().__init__()
        self.reach = max(1, _BAND // row_height)  # rows on either side
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, states_BCHW: Tensor) -> Tensor:
        """The same shape and type; quickest where the channels of a pixel lie together. Statistics are in fp32."""
        apply: Callable[..., Tensor] = _Banded.apply
        return apply(states_BCHW.permute(0, 2, 3, 1), self.weight, self.bias, self.reach).permute(0, 3, 1, 2)


class _Banded(torch.autograd.Function):
    """y = scale · x + shift, both of them functions of a row's mean of x and of x².

    Left to autograd it takes a quarter to two thirds longer, the more the larger the map.
    """

    @staticmethod
    def forward(ctx: Any, x_BHWC: Tensor, weight_C: Tensor, bias_C: Tensor, reach: int) -> Tensor:
        full_BHWC = x_BHWC.to(torch.promote_types(x_BHWC.dtype, torch.float32))
        small = [full_BHWC.mean(2), (full_BHWC * full_BHWC).mean(2), weight_C, bias_C]
        learns = any(ctx.needs_input_grad)
        if learns:
            small = [tensor.detach().requires_grad_() for tensor in small]
        with torch.set_grad_enabled(learns):
            found = _scale_and_shift(*small, reach=reach)
        if learns:
            ctx.small = small, found
            ctx.save_for_backward(x_BHWC)
        scale_BH1C, shift_BH1C = (tensor.detach()[:, :, None] for tensor in found)
        return torch.addcmul(shift_BH1C, full_BHWC, scale_BH1C).to(x_BHWC.dtype)

    @staticmethod
    def backward(ctx: Any, dy_BHWC: Tensor) -> tuple[Tensor | None, ...]:
        (x_BHWC,) = ctx.saved_tensors
        leaves, found = ctx.small
        # torch adds halves up in fp32 and rounds the sum.
        to_small = [rows_BHC.to(found[0].dtype) for rows_BHC in ((dy_BHWC * x_BHWC).sum(2), dy_BHWC.sum(2))]
        # Kept, because a step may ask for the gradient of each of its losses.
        d_small = torch.autograd.grad(found, leaves, to_small, retain_graph=True)
        d_mean_BHC, d_square_BHC, d_weight_C, d_bias_C = d_small
        width, kind = x_BHWC.shape[2], x_BHWC.dtype
        flat_BH1C, steep_BH1C, scale_BH1C = (
            of[:, :, None].to(kind) for of in (d_mean_BHC / width, d_square_BHC * (2 / width), found[0].detach())
        )
        dx_BHWC = torch.addcmul(flat_BH1C, x_BHWC, steep_BH1C).addcmul_(dy_BHWC, scale_BH1C)
        return dx_BHWC, d_weight_C, d_bias_C, None


def _scale_and_shift(
    mean_BHC: Tensor, square_BHC: Tensor, weight_C: Tensor, bias_C: Tensor, *, reach: int
) -> tuple[Tensor, Tensor]:
    middle_BHC = _over_band(mean_BHC, reach)
    spread_BHC = (_over_band(square_BHC, reach) - middle_BHC.square()).clamp(min=0.0)
    scale_BHC = torch.rsqrt(spread_BHC + _SMALLEST) * weight_C
    return scale_BHC, bias_C - middle_BHC * scale_BHC


def _over_band(values_BHC: Tensor, reach: int) -> Tensor:
    """The mean of the rows within `reach` of each."""
    rows_BCH = values_BHC.transpose(1, 2)
    return functional.avg_pool1d(rows_BCH, 2 * reach + 1, 1, reach, count_include_pad=False).transpose(1, 2)


class PageBlock(nn.Module):
    """x + two pointwise layers of (depthwise convolution of x, normed); maps (B, D, H, W)."""

    def __init__(self, width: int, expansion: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        around = kernel[0] // 2, kernel[1] // 2
        self.spread = nn.Conv2d(width, width, kernel, padding=around, groups=width, bias=False)
        self.norm = BandNorm(width, STRIDE[0])
        self.widen = nn.Conv2d(width, expansion * width, 1)
        self.narrow = nn.Conv2d(expansion * width, width, 1)

    def forward(self, states_BDHW: Tensor) -> Tensor:
        """The same shape."""
        states_BDHW = states_BDHW.to(self.spread.weight.dtype)
        with torch.autocast(states_BDHW.device.type, enabled=False):  # in halves its backward takes three times as long
            around_BDHW = self.spread(states_BDHW)
        inner_BDHW = functional.relu(self.widen(self.norm(around_BDHW)))
        return states_BDHW + self.narrow(inner_BDHW)  # type: ignore[no-any-return]


class PageEncoder(PreTrainedModel):  # type: ignore[misc]
    """Stem, blocks, LayerNorm, then sines and cosines of row and column: any image of whole cells."""

    config_class = PageEncoderConfig
    main_input_name = "pixel_values"
    base_model_prefix = "page"
    _no_split_modules = ("PageBlock",)
    at_once: int | None = None  # pages, if not all: see `few_at_a_time`

    def __init__(self, config: PageEncoderConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        channels = [config.num_channels * _FOLD**2, width // 2, width, width]
        heights = [_FOLD * math.prod(stride[0] for stride in _STRIDES[: i + 1]) for i in range(len(_STRIDES))]
        self.stem = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), BandNorm(after, height), nn.ReLU())
                for before, after, stride, height in zip(channels[:-1], channels[1:], _STRIDES, heights, strict=True)
            )
        )
        high, wide = config.kernel or (3, 3)
        self.blocks = nn.ModuleList(
            PageBlock(width, config.expansion, (high, wide)) for _ in range(config.num_hidden_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **_: Any,
    ) -> Any:
        """`pixel_values` (B, C, H, W) are grey levels from 0 (black) to 1. Gives `last_hidden_state` (B, L, D)."""
        height, width = pixel_values.shape[-2:]
        if height % STRIDE[0] or width % STRIDE[1]:
            raise ValueError(f"a page of {height} × {width} pixels is not made of whole cells of 16 × 8: pad it")
        if self.at_once and len(pixel_values) > self.at_once:
            parts = [self.forward(part).last_hidden_state for part in torch.split(pixel_values, self.at_once)]
            return BaseModelOutput(last_hidden_state=torch.cat(parts))
        # Channels of a pixel lie together from here on: on a CPU convolutions then take 0.6 of the time (docs/log.md).
        folded_BCHW = functional.pixel_unshuffle((pixel_values - _MIDDLE) / _SPREAD, _FOLD)
        states_BDHW = self.stem(folded_BCHW.contiguous(memory_format=torch.channels_last))
        seen = [states_BDHW] if output_hidden_states else []
        for block in self.blocks:
            states_BDHW = block(states_BDHW)
            if output_hidden_states:
                seen.append(states_BDHW)
        rows, columns = states_BDHW.shape[-2:]
        states_BLD = self.norm(_cells(states_BDHW))
        states_BLD = states_BLD + positions(rows, columns, states_BLD.shape[-1], states_BLD.device).to(states_BLD.dtype)
        hidden = tuple(map(_cells, seen)) if output_hidden_states else None
        if return_dict is False:
            return (states_BLD,) if hidden is None else (states_BLD, hidden)
        return BaseModelOutput(last_hidden_state=states_BLD, hidden_states=hidden)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, BandNorm | nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, PageBlock):
            init.normal_(module.narrow.weight, std=self.config.initializer_range)


@contextmanager
def few_at_a_time(encoder: Any) -> Iterator[None]:
    """Within it, a `PageEncoder` on a CPU gives the last states alone, made of a few pages at a time.

    It takes less memory, and what a page becomes stays in the caches. Not for training, nor for who looks at layers.
    """
    if not isinstance(encoder, PageEncoder) or encoder.device.type != "cpu":
        yield
        return
    encoder.at_once = _AT_ONCE
    try:
        yield
    finally:
        encoder.at_once = None


def positions(rows: int, columns: int, width: int, device: torch.device | None = None) -> Tensor:
    """positions_LD of the cells of a map, row by row: sines and cosines of the row in the first half, then the column.

    Each half is as in Vaswani et al. 2017 (arXiv 1706.03762), section 3.5. `width` is a multiple of 4.
    """
    row_RE, column_KE = (_sines(count, width // 2, device) for count in (rows, columns))
    grid_RKD = torch.cat((row_RE[:, None].expand(-1, columns, -1), column_KE[None].expand(rows, -1, -1)), dim=-1)
    return grid_RKD.flatten(0, 1)


def _sines(count: int, width: int, device: torch.device | None) -> Tensor:
    rates_f = 10_000.0 ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)
    angles_Nf = torch.arange(count, device=device, dtype=torch.float32)[:, None] * rates_f
    return torch.cat((angles_Nf.sin(), angles_Nf.cos()), dim=-1)


def _cells(states_BDHW: Tensor) -> Tensor:
    """states_BLD, row by row."""
    return states_BDHW.flatten(2).transpose(1, 2)


AutoConfig.register(PageEncoderConfig.model_type, PageEncoderConfig, exist_ok=True)
AutoModel.register(PageEncoderConfig, PageEncoder, exist_ok=True)
