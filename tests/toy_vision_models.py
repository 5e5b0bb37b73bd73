"""Tiny vision-language models in hub format, of the classes that real ones have, with processors that need no network.

Each is a directory with weights, tokenizer and processor files, as a download from the hub would be.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    DonutProcessor,
    DonutSwinConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LightOnOcrConfig,
    LightOnOcrForConditionalGeneration,
    LightOnOcrProcessor,
    MBartConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    TrOCRConfig,
    TrOCRProcessor,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)
from transformers.models.donut.image_processing_pil_donut import DonutImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

CHARACTERS = "\n" + string.printable[:95]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
IDEFICS3_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
CHATML_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def character_tokenizer(
    special: list[str], end: str = "</s>", named: dict[str, str] | None = None
) -> PreTrainedTokenizerFast:
    """A token a character; `named` are special tokens that a processor asks for by an attribute."""
    tokens = [*SPECIAL, *special, *CHARACTERS]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token=end,
        unk_token="<unk>",
        extra_special_tokens=named or {},
        model_input_names=["input_ids", "attention_mask"],
    )


def text_config(tokenizer: PreTrainedTokenizerFast, end: str) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": tokenizer.convert_tokens_to_ids(end),
    }


def _idefics3(config_class: Any, model_class: Any, template: str | None) -> tuple[Any, Any]:
    """Square tiles alone: its pixel shuffle takes the square root of the number of patches."""
    end = "<end_of_utterance>"
    special = ["<fake_token_around_image>", "<image>", end, "<global-img>", "<|im_start|>"]
    special += [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]
    tokenizer = character_tokenizer(special, end)
    image = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    processor = Idefics3Processor(image, tokenizer, image_seq_len=4, chat_template=template)
    vision = {
        "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 32, "patch_size": 8,
    }  # fmt: skip
    text = text_config(tokenizer, end) | {"model_type": "llama"}
    config = config_class(
        text_config=text,
        vision_config=vision,
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    return model_class(config), processor


def _idefics3_base() -> tuple[Any, Any]:
    return _idefics3(Idefics3Config, Idefics3ForConditionalGeneration, None)


def _idefics3_chat() -> tuple[Any, Any]:
    return _idefics3(Idefics3Config, Idefics3ForConditionalGeneration, IDEFICS3_TEMPLATE)


def _smolvlm() -> tuple[Any, Any]:
    """SmolVLM's own processor wants torchvision and num2words for videos; for images it is Idefics 3's."""
    return _idefics3(SmolVLMConfig, SmolVLMForConditionalGeneration, IDEFICS3_TEMPLATE)


def _qwen(config_class: Any, model_class: Any, vision: dict[str, Any]) -> tuple[Any, Any]:
    from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor

    from forge.models.processor import images_only

    end = "<|im_end|>"
    special = ["<|im_start|>", end, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = character_tokenizer(special, end)
    image = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 16 * 16, "longest_edge": 64 * 64}, patch_size=8, temporal_patch_size=2, merge_size=2
    )
    template = CHATML_TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    processor = images_only(Qwen2VLProcessor)(image, tokenizer, chat_template=template)
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(token)
        for name, token in (
            ("image", "<|image_pad|>"), ("video", "<|video_pad|>"),
            ("vision_start", "<|vision_start|>"), ("vision_end", "<|vision_end|>"),
        )
    }  # fmt: skip
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10_000.0}
    vision = vision | {"patch_size": 8, "num_heads": 2, "depth": 2, "spatial_merge_size": 2}
    config = config_class(
        text_config=text_config(tokenizer, end) | {"rope_parameters": rope},
        vision_config=vision,
        tie_word_embeddings=True,
        **ids,
    )
    return model_class(config), processor


def _qwen2_vl() -> tuple[Any, Any]:
    return _qwen(Qwen2VLConfig, Qwen2VLForConditionalGeneration, {"embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2})


def _qwen2_5_vl() -> tuple[Any, Any]:
    vision = {"hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 48, "fullatt_block_indexes": [1]}
    return _qwen(Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, vision | {"window_size": 32})


def _lighton() -> tuple[Any, Any]:
    end = "<|im_end|>"
    named = {"image_token": "<|image_pad|>", "image_break_token": "<|vision_pad|>", "image_end_token": "<|vision_end|>"}
    tokenizer = character_tokenizer(["<|im_start|>", end, *named.values()], end, named)
    image = PixtralImageProcessorPil(size={"longest_edge": 64}, patch_size={"height": 16, "width": 16})
    template = CHATML_TEMPLATE.replace("IMAGE", "<|image_pad|>")
    processor = LightOnOcrProcessor(image, tokenizer, patch_size=8, spatial_merge_size=2, chat_template=template)
    vision = {
        "model_type": "pixtral", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 16,
        "num_attention_heads": 2, "image_size": 64, "patch_size": 8,
    }  # fmt: skip
    config = LightOnOcrConfig(
        text_config=text_config(tokenizer, end) | {"model_type": "qwen3", "head_dim": 8, "tie_word_embeddings": True},
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
    )
    return LightOnOcrForConditionalGeneration(config), processor


def _donut() -> tuple[Any, Any]:
    tokenizer = character_tokenizer(["<s_page>"])
    image = DonutImageProcessorPil(size={"height": 64, "width": 96})
    encoder = DonutSwinConfig(
        image_size=[64, 96], patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4
    )
    decoder = MBartConfig(
        vocab_size=len(tokenizer), d_model=32, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=48,
        max_position_embeddings=128, is_decoder=True, add_cross_attention=True, is_encoder_decoder=False,
        scale_embedding=True, add_final_layer_norm=True, forced_eos_token_id=None, dropout=0.0,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id = tokenizer.convert_tokens_to_ids("<s_page>")
    config.pad_token_id, config.eos_token_id = 0, 2
    return VisionEncoderDecoderModel(config), DonutProcessor(image, tokenizer)


def _trocr() -> tuple[Any, Any]:
    tokenizer = character_tokenizer([])
    image = ViTImageProcessorPil(size={"height": 32, "width": 64})
    encoder = ViTConfig(
        image_size=[32, 64], patch_size=8, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, hidden_dropout_prob=0.0,
    )  # fmt: skip
    decoder = TrOCRConfig(
        vocab_size=len(tokenizer), d_model=32, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=48,
        cross_attention_hidden_size=24, max_position_embeddings=128, is_decoder=True, add_cross_attention=True,
        dropout=0.0, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 2, 0, 2
    return VisionEncoderDecoderModel(config), TrOCRProcessor(image, tokenizer)


DECODERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "idefics3": _idefics3_chat,
    "idefics3_base": _idefics3_base,
    "smolvlm": _smolvlm,
    "qwen2_vl": _qwen2_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "lighton_ocr": _lighton,
}
ENCODER_DECODERS: dict[str, Callable[[], tuple[Any, Any]]] = {"donut": _donut, "trocr": _trocr}
ALL = DECODERS | ENCODER_DECODERS


def make(kind: str, folder: Path, seed: int = 0) -> Path:
    """Write a model of this kind into a new folder, its weights drawn from `seed`."""
    torch.manual_seed(seed)
    model, processor = ALL[kind]()
    for parameter in model.parameters():  # logits of a new model are nearly equal; here words should differ
        if parameter.ndim > 1:
            parameter.data.mul_(3.0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
