"""A finished run → a model directory with ONNX files: fp32, and fp16 for GPUs. Opset 17, dynamic batch and sequence."""

import json
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from .config import Config
from .model import TwoHeads, load, pad

OPSET = 17
# What fp32 ONNX may differ from fp32 PyTorch in a logit.
TOLERANCE = 1e-3
_PROBES = ["Lender halts withdrawals after customers move deposits", "Chipmaker raises full-year guidance", "Oil steady", "$ABC: ABC to report on May 4"]


def run(config: Config, run_folder: Path, out: Path) -> dict:
    """Writes `model.onnx`, `model.fp16.onnx`, `tokenizer.json` and `config.json`; returns by how much logits differ from PyTorch's.

    Raises RuntimeError where fp32 differs by more than `TOLERANCE`.
    """
    out.mkdir(parents=True, exist_ok=True)
    # An int8 file that lies here is of other weights.
    (out / "model.int8.onnx").unlink(missing_ok=True)
    model, tokenizer = load(config, run_folder / "best")
    model.encoder.set_attn_implementation("eager")
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.save(str(out / "tokenizer.json"))
    ids, mask = pad(tokenizer(_PROBES)["input_ids"], tokenizer.pad_token_id)
    _export(model, ids, mask, out / "model.onnx")
    _half(out / "model.onnx", out / "model.fp16.onnx")
    heads = {
        head: {"output": f"{head}_logits", "id2label": {str(i): label for i, label in enumerate(getattr(config.labels, head))}, "temperature": 1.0}
        for head in ("topic", "sentiment")
    }
    settings = {
        "model_type": model.encoder.config.model_type,
        "name": config.name,
        "base_model": config.encoder.base_model,
        "license": config.encoder.license,
        "hidden_size": model.encoder.config.hidden_size,
        "num_hidden_layers": model.encoder.config.num_hidden_layers,
        "num_attention_heads": model.encoder.config.num_attention_heads,
        "max_position_embeddings": model.encoder.config.max_position_embeddings,
        "max_length": config.encoder.max_length,
        "pad_token_id": tokenizer.pad_token_id,
        "inputs": ["input_ids", "attention_mask"],
        "heads": heads,
    }
    (out / "config.json").write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n")
    return check(model, tokenizer, out)


def _export(model: TwoHeads, ids: torch.Tensor, mask: torch.Tensor, target: Path) -> None:
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, input_ids, attention_mask):
            return self.inner(input_ids, attention_mask)

    shape = {0: "batch", 1: "sequence"}
    torch.onnx.export(
        Wrapped().eval(), (ids, mask), str(target), opset_version=OPSET, dynamo=False, do_constant_folding=True,
        input_names=["input_ids", "attention_mask"], output_names=["topic_logits", "sentiment_logits"],
        dynamic_axes={"input_ids": shape, "attention_mask": shape, "topic_logits": {0: "batch"}, "sentiment_logits": {0: "batch"}},
    )
    onnx.checker.check_model(str(target))


def half(directory: Path) -> None:
    """Writes `model.fp16.onnx`: from `model.onnx`, or where that is gone from the weights of `model.int8.onnx`."""
    kept = (directory / "model.onnx").exists()
    if not kept:
        again(directory)
    _half(directory / "model.onnx", directory / "model.fp16.onnx")
    if not kept:
        (directory / "model.onnx").unlink()


def again(directory: Path) -> None:
    """Writes `model.onnx` from the weights of a directory's `model.int8.onnx`, for who has nothing else of a BERT."""
    from transformers import BertConfig, BertModel

    from . import fused

    settings = json.loads((directory / "config.json").read_text())
    found = fused.weights(onnx.load(directory / "model.int8.onnx"))
    base = "encoder.embeddings"
    encoder = BertConfig(
        vocab_size=len(found[f"{base}.word_embeddings.weight"]), hidden_size=settings["hidden_size"], num_hidden_layers=settings["num_hidden_layers"],
        num_attention_heads=settings["num_attention_heads"], intermediate_size=len(found["encoder.encoder.layer.0.intermediate.dense.bias"]),
        max_position_embeddings=len(found[f"{base}.position_embeddings.weight"]), type_vocab_size=len(found[f"{base}.token_type_embeddings.weight"]),
        attn_implementation="eager",
    )
    model = TwoHeads(BertModel(encoder, add_pooling_layer=False), *(len(found[f"{head}.bias"]) for head in ("topic", "sentiment")))
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in found.items()})
    ids, mask = pad([[1, 2, 3], [1, 2]], settings["pad_token_id"])
    _export(model.eval(), ids, mask, directory / "model.onnx")


def _half(source: Path, target: Path) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def check(model: TwoHeads, tokenizer, directory: Path, texts: list[str] | None = None) -> dict[str, float]:
    """The largest difference in a logit between PyTorch in fp32 and each ONNX file of the directory."""
    from .onnx_model import OnnxModel

    texts = texts or _PROBES
    ids, mask = pad(tokenizer(texts)["input_ids"], tokenizer.pad_token_id)
    with torch.no_grad():
        expected = dict(zip(("topic", "sentiment"), (part.numpy() for part in model(ids, mask))))
    result = {}
    for file in sorted(directory.glob("*.onnx")):
        actual = OnnxModel(directory, file.name).logits(texts)
        result[file.name] = max(float(np.abs(actual[head] - expected[head]).max()) for head in expected)
    if result["model.onnx"] > TOLERANCE:
        raise RuntimeError(f"model.onnx differs from PyTorch by {result['model.onnx']:.2g}: more than {TOLERANCE}")
    return result
