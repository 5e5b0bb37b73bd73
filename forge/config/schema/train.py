"""`train:` the optimizer, the batches and the numbers' precision."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from forge.config.schema._base import Section

Positive = Annotated[int, Field(ge=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class Train(Section):
    """How the model is trained. A *step* is one optimizer update."""

    max_steps: Positive | None = None
    """Stop after so many optimizer steps; null trains for `train.epochs`."""
    epochs: Annotated[float, Field(gt=0)] = 3.0
    """Passes over the training data, unless `train.max_steps` is set."""
    batch_size: Positive = 32
    """Examples per optimizer step, over all devices together: the same experiment on one device or eight."""
    batch_tokens: Positive | None = None
    """Padded tokens per optimizer step, in place of `train.batch_size`; null counts examples."""
    micro_batch_size: Positive | None = None
    """Most examples per forward pass and device; smaller saves memory, the rest is gradient accumulation.
    Null shares a step evenly over the devices; with a number, dropout too is the same on any number of devices."""
    group_by_length: bool = False
    """Put texts of like length into one batch: less padding, a little less randomness."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 5e-5
    """Peak learning rate."""
    schedule: Literal["linear", "cosine", "constant", "inverse_sqrt"] = "linear"
    """Shape of the learning rate after warm-up."""
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    """Steps of linear warm-up; null takes `train.warmup_ratio`."""
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.06
    """Share of all steps that is warm-up, unless `train.warmup_steps` is set."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """AdamW weight decay; biases and normalisation weights are left out."""
    adam_betas: Annotated[tuple[Beta, Beta], Field(strict=False)] = (0.9, 0.999)
    """AdamW decay rates of the gradient's first and second moment."""
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """AdamW epsilon."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Gradients are scaled down to this global norm; null leaves them."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target probability that is spread evenly over all labels."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the forward pass; auto is bf16 where the GPU has it, else fp32."""
    compile: bool = False
    """Compile the model with torch.compile."""
    nonfinite: Literal["stop", "skip"] = "stop"
    """What to do when a step's gradient is not finite: `stop` ends the run before anything of it is saved, `skip`
    leaves the step's update out and goes on, up to ten times in a row."""
    num_workers: Annotated[int, Field(ge=0, le=64)] = 0
    """Processes that prepare batches ahead; 0 prepares them in line, which is quickest for encoded text."""
    threads: Positive | None = None
    """CPU threads for torch; null leaves torch's choice."""
