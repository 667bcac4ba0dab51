"""Chooses the int8 form of an exported model for CPUs: every variant is measured on development rows, the fastest that keeps
accuracy *and* gives a text the same answer whatever it is batched with becomes `model.int8.onnx`."""

import json
import logging
import random
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

from . import fused, prepare
from .config import Config, ConfigError
from .measures import temperature
from .onnx_model import OnnxModel
from .prepare import Row
from .text import clean

ALONE = 400
# They tell of every node that they leave alone.
for _name in ("onnxruntime.quantization.matmul_nbits_quantizer", "root"):
    logging.getLogger(_name if _name != "root" else None).setLevel(logging.WARNING)


def run(config: Config, splits: Path, directory: Path, progress=lambda items, _: items) -> dict:
    """Measures `config.quantize.variants`, writes the chosen one, and returns (and writes to `quantize.json`) the table.

    Where the export in fp32 is gone, the weights of an int8 model stand for it.

    Raises RuntimeError when no variant keeps to `largest_loss`, `largest_megabytes` and `least_agreement`.
    """
    settings = config.quantize
    rows = prepare.load(splits, "development")
    # They lie there source by source: the first of them, by which is calibrated and timed, shall be of all.
    random.Random(config.seed).shuffle(rows)
    texts = [row.text for row in rows]
    if not (directory / "model.onnx").exists():
        from . import export

        export.again(directory)
    reference_model = OnnxModel(directory, "model.onnx")
    reference = reference_model.logits(texts)
    table = {"fp32": _entry(reference_model, reference, reference, rows, directory / "model.onnx")}
    best = None
    with tempfile.TemporaryDirectory() as temporary:
        for variant in progress(settings.variants, "quantising"):
            target = Path(temporary) / f"{variant}.onnx"
            calibration = texts[: settings.calibration_rows]
            make(variant, directory, target, calibration)
            for name in ("config.json", "tokenizer.json"):
                (Path(temporary) / name).write_bytes((directory / name).read_bytes())
            model = OnnxModel(Path(temporary), target.name)
            entry = _entry(model, model.logits(texts), reference, rows, target)
            table[variant] = entry
            entry["kept"] = (
                all(entry[head]["accuracy"] >= table["fp32"][head]["accuracy"] - settings.largest_loss for head in reference)
                and all(entry[head]["alone_as_batched"] >= settings.least_agreement for head in reference)
                and (not settings.largest_megabytes or entry["megabytes"] <= settings.largest_megabytes)
            )
            if entry["kept"] and (best is None or entry["texts_per_cpu_second"] > table[best]["texts_per_cpu_second"]):
                best = variant
                (directory / "model.int8.onnx").write_bytes(target.read_bytes())
    if best is None:
        raise RuntimeError(f"no int8 variant keeps to quantize.largest_loss, .largest_megabytes and .least_agreement: {json.dumps(table)}")
    result = {"chosen": best, "rows": len(rows), "variants": table, "temperatures": calibrate(directory, rows)}
    (directory / "quantize.json").write_text(json.dumps(result, indent=1))
    return result


def calibrate(directory: Path, rows: list[Row]) -> dict[str, float]:
    """Fits each head's temperature on development rows, as int8 sees them, and writes it to `config.json`.

    Never below 1: the epoch was chosen by these rows, so a fit that sharpens flatters itself, and text from elsewhere pays for it.
    """
    model = OnnxModel(directory)
    logits = model.logits([row.text for row in rows])
    settings = json.loads((directory / "config.json").read_text())
    for head, labels in model.labels.items():
        known = [i for i, row in enumerate(rows) if getattr(row, head)]
        truth = np.array([labels.index(getattr(rows[i], head)) for i in known])
        fitted = temperature(logits[head][known], truth, np.array([rows[i].source for i in known]))
        settings["heads"][head]["temperature"] = round(max(1.0, fitted), 4)
    (directory / "config.json").write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n")
    return {head: value["temperature"] for head, value in settings["heads"].items()}


def make(variant: str, directory: Path, target: Path, calibration: list[str]) -> None:
    """One int8 form of `model.onnx`. Embedding tables become int8 in blocks of 32 in all of them.

    `rows-N`: weights in blocks of N, activations rounded row by row as they come (`MatMulNBits`, accuracy level 4).
    `fused`: a BERT's graph written anew (`fused.py`), weights rounded by output, activations row by row in whole int8 products, after their
    columns were evened out by what they are on `calibration` texts.
    `dynamic-channel`, `dynamic-tensor`: activations of a batch share one scale, found as they come.
    `static-channel`, `static-tensor`: activations have a scale found beforehand on `calibration` texts; `static-no-output` leaves
    the second matrix of every feed-forward block, whose inputs have the widest range, in float.
    """
    source = directory / "model.onnx"
    kind, _, detail = variant.partition("-")
    if kind == "fused":
        onnx.save(_fused(directory, calibration), target)
        return
    with tempfile.TemporaryDirectory() as temporary:
        embedded = Path(temporary) / "embedded.onnx"
        if kind == "rows":
            matrices = DefaultWeightOnlyQuantConfig(block_size=int(detail), is_symmetric=True, accuracy_level=4, bits=8)
            quantizer = MatMulNBitsQuantizer(onnx.load(source), algo_config=matrices)
            quantizer.process()
            embed(quantizer.model.model, target)
            return
        prepared = Path(temporary) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        if kind == "dynamic":
            quantize_dynamic(str(prepared), str(embedded), op_types_to_quantize=["MatMul"], per_channel=detail == "channel",
                             weight_type=QuantType.QInt8)
        else:
            left = [node.name for node in onnx.load(prepared).graph.node if node.op_type == "MatMul" and "/output/dense" in node.name
                    and "attention" not in node.name] if detail == "no-output" else []
            # Only matrices with constant weights: attention's products of activations stay in float.
            constants = {tensor.name for tensor in onnx.load(prepared).graph.initializer}
            chosen = [node.name for node in onnx.load(prepared).graph.node
                      if node.op_type == "MatMul" and node.input[1] in constants and node.name not in left]
            quantize_static(str(prepared), str(embedded), _Reader(directory, calibration), quant_format=QuantFormat.QDQ,
                            op_types_to_quantize=["MatMul"], nodes_to_quantize=chosen, per_channel=detail != "tensor",
                            weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
                            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True})
        embed(onnx.load(embedded), target)


def _fused(directory: Path, calibration: list[str]) -> onnx.ModelProto:
    settings = json.loads((directory / "config.json").read_text())
    if settings["model_type"] != "bert" or "num_attention_heads" not in settings:
        raise ConfigError(f"quantize.variants: fused is for a BERT that `export` wrote, and {directory} has none")
    model = onnx.load(directory / "model.onnx")
    epsilon = next(field.f for node in model.graph.node if node.op_type == "LayerNormalization" for field in node.attribute if field.name == "epsilon")
    found, heads = fused.weights(model), settings["num_attention_heads"]
    rows = [row["input_ids"][0] for row in iter(_Reader(directory, calibration).get_next, None)]
    divided = fused.divisors(found, heads, epsilon, rows) if rows else None
    return fused.build(found, heads, epsilon, divided=divided)


def embed(model: onnx.ModelProto, target: Path) -> None:
    """Rounds the embedding tables to int8, in blocks of 32 along the width (`GatherBlockQuantized`), and saves the model."""
    from onnx import helper, numpy_helper

    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for place, node in enumerate(list(graph.node)):
        if node.op_type != "Gather" or node.input[0] not in tensors or len(tensors[node.input[0]].dims) != 2:
            continue
        table = numpy_helper.to_array(tensors[node.input[0]]).astype(np.float32)
        if table.shape[0] < 1000:
            continue
        blocks = table.reshape(table.shape[0], -1, 32)
        scale = np.maximum(np.abs(blocks).max(-1) / 127, 1e-12).astype(np.float32)
        packed = (np.clip(np.rint(blocks / scale[..., None]), -127, 127) + 128).astype(np.uint8).reshape(table.shape)
        name = node.input[0]
        graph.initializer.remove(tensors[name])
        graph.initializer.append(numpy_helper.from_array(packed, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scales"))
        new = helper.make_node("GatherBlockQuantized", [f"{name}_int8", node.input[1], f"{name}_scales"], list(node.output),
                               name=f"{node.name}_int8", domain="com.microsoft", gather_axis=0, quantize_axis=1, block_size=32, bits=8)
        graph.node.remove(node)
        graph.node.insert(place, new)
    if not any(opset.domain == "com.microsoft" for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, target)


class _Reader(CalibrationDataReader):
    """Calibration texts, one by one, tokenised as in production."""

    def __init__(self, directory: Path, texts: list[str]):
        model = OnnxModel(directory, "model.onnx")
        self.rows = iter([np.array([model.tokenizer.encode(clean(text)).ids], np.int64) for text in texts])

    def get_next(self):
        ids = next(self.rows, None)
        return None if ids is None else {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def _entry(model: OnnxModel, logits: dict, reference: dict, rows: list[Row], file: Path) -> dict:
    texts = [row.text for row in rows]
    probabilities = model.probabilities(logits)
    few = texts[:ALONE]
    alone = model.probabilities(model.logits(few, batch=1))
    # Batched in the order of the file, not by length: batch mates as unlike as a stream brings them.
    mates = model.probabilities({head: np.concatenate([model.logits(few[i : i + 32], batch=32)[head] for i in range(0, ALONE, 32)])
                                 for head in logits})
    entry: dict = {"megabytes": round(file.stat().st_size / 1e6, 1), "texts_per_cpu_second": round(model.texts_per_cpu_second(texts[:600]), 1)}
    for head, values in probabilities.items():
        labels = model.labels[head]
        known = [i for i, row in enumerate(rows) if getattr(row, head)]
        truth = np.array([labels.index(getattr(rows[i], head)) for i in known])
        entry[head] = {
            "accuracy": float((values[known].argmax(-1) == truth).mean()),
            "same_label_as_fp32": float((values.argmax(-1) == reference[head].argmax(-1)).mean()),
            "alone_as_batched": float((alone[head].argmax(-1) == mates[head].argmax(-1)).mean()),
            "largest_move_by_batch_mates": float(np.abs(alone[head] - mates[head]).max()),
        }
    return entry
