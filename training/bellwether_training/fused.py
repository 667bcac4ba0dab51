"""A BERT of two heads as a graph written by hand for CPUs: whole int8 products with the activations of every row rounded by a scale
of its own, so that batch mates move nothing, and what lies between the products in few operators."""

import re

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HEADS = ("topic", "sentiment")
ZERO = 128


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The weights of an export, fp32, by PyTorch's names below `encoder.`, `topic.`, `sentiment.`; undoes `rows-N` and int8 tables."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    plain = re.compile(r"^inner\.(.*(?:weight|bias))$")
    found = {match[1]: array for name, array in tensors.items() if (match := plain.match(name))}
    for node in model.graph.node:
        name = re.sub(r"^inner/|/MatMul.*$", "", node.name.strip("/")).replace("/", ".")
        if node.op_type == "MatMul" and node.input[1] in tensors:
            found[f"{name}.weight"] = tensors[node.input[1]].T
        elif node.op_type == "MatMulNBits":
            values = tensors[node.input[1]].astype(np.float32) - ZERO
            scales = tensors[node.input[2]].reshape(*values.shape[:2], 1)
            # The last block of a row is filled up.
            [width] = [field.i for field in node.attribute if field.name == "K"]
            found[f"{name}.weight"] = (values * scales).reshape(len(values), -1)[:, :width]
        elif node.op_type == "GatherBlockQuantized":
            values, scales = tensors[node.input[0]].astype(np.float32) - ZERO, tensors[node.input[2]]
            name = node.input[0].removeprefix("inner.").removesuffix("_int8")
            found[name] = (values.reshape(*scales.shape, -1) * scales[..., None]).reshape(values.shape)
    return found


class Graph:
    """Nodes and constants as they are written down."""

    def __init__(self):
        self.nodes, self.constants = [], {}

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, name: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes):
        names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=name, domain=domain, **attributes))
        return name if outputs == 1 else names


MS = "com.microsoft"


def build(found: dict[str, np.ndarray], heads: int, epsilon: float = 1e-12, rounded: bool = True, weight_bits: int = 8) -> onnx.ModelProto:
    """`input_ids`, `attention_mask` [batch, sequence] → `topic_logits`, `sentiment_logits`.

    `rounded`: int8 products, else fp32. `weight_bits`: 7 keeps processors without VNNI from saturating.
    """
    graph = Graph()
    add, constant = graph.add, graph.constant
    width = found["encoder.embeddings.word_embeddings.weight"].shape[1]
    layers = 1 + max(int(name.split(".")[3]) for name in found if name.startswith("encoder.encoder.layer."))

    zero, one = constant("zero", np.uint8([ZERO])[0]), constant("one", np.float32(1))
    lengths = add("Shape", "shape", "input_ids")
    flat = constant("flat", np.int64([-1, width]))
    split = add("Concat", "split", lengths, constant("by heads", np.int64([heads, width // heads])), axis=0)
    whole = add("Concat", "whole", lengths, constant("width", np.int64([width])), axis=0)

    def rounds(x: str) -> tuple[str, str]:
        """Rows in int8 and their scales [rows, 1]; without rounding, as they are."""
        if not rounded:
            return x, ""
        largest = add("ReduceMax", f"{x}.largest", add("Abs", f"{x}.size", x), axes=[1], keepdims=1)
        scale = add("Max", f"{x}.step", add("Mul", f"{x}.scaled", largest, constant("step", np.float32(1 / 127))), constant("least", np.float32(1e-12)))
        steps = add("Reshape", f"{x}.steps", scale, constant("all", np.int64([-1])))
        zeros = add("Expand", f"{x}.zeros", constant("zeros", np.uint8([ZERO])), add("Shape", f"{x}.rows", steps))
        return add("QuantizeLinear", f"{x}.int8", x, steps, zeros, axis=0), scale

    def product(name: str, x: tuple[str, str], part: str) -> str:
        """x · weightᵀ, without the bias."""
        weight = found[f"{part}.weight"]
        if not rounded:
            return add("MatMul", name, x[0], constant(f"{part}.weight", weight.T))
        most = 2 ** (weight_bits - 1) - 1
        steps = np.maximum(np.abs(weight).max(1) / most, 1e-12).astype(np.float32)
        values = np.clip(np.rint(weight / steps[:, None]), -most, most).astype(np.int8).T
        made = add("MatMulIntegerToFloat", f"{name}.whole", x[0], constant(f"{part}.int8", values), one, constant(f"{part}.steps", steps), zero, domain=MS)
        return add("Mul", name, made, x[1])

    def normalised(name: str, x: str, rest: str, part: str, bias: str) -> str:
        gamma, beta = (constant(f"{part}.{kind}", found[f"{part}.{kind}"]) for kind in ("weight", "bias"))
        # `SkipLayerNormalization` would take all three, and on a CPU takes longer than they do.
        whole_x = add("Add", f"{name}.biased", x, constant(f"{bias}.bias", found[f"{bias}.bias"]))
        return add("LayerNormalization", name, add("Add", f"{name}.sum", whole_x, rest), gamma, beta, axis=-1, epsilon=epsilon)

    base = "encoder.embeddings"
    words = found[f"{base}.word_embeddings.weight"]
    blocks = words.reshape(len(words), -1, 32)
    steps = np.maximum(np.abs(blocks).max(-1) / 127, 1e-12).astype(np.float32)
    table = (np.clip(np.rint(blocks / steps[..., None]), -127, 127) + ZERO).astype(np.uint8).reshape(words.shape)
    word = add("GatherBlockQuantized", "words", constant("words.int8", table), "input_ids", constant("words.steps", steps), domain=MS,
               gather_axis=0, quantize_axis=1, block_size=32, bits=8)
    places = found[f"{base}.position_embeddings.weight"] + found[f"{base}.token_type_embeddings.weight"][0]
    length = add("Gather", "length", lengths, constant("second", np.int64([1])), axis=0)
    place = add("Slice", "places", constant("positions", places.astype(np.float32)), constant("first", np.int64([0])), length)
    gamma, beta = (constant(f"{base}.{kind}", found[f"{base}.LayerNorm.{kind}"]) for kind in ("weight", "bias"))
    x = add("LayerNormalization", "embedded", add("Add", "placed", word, place), gamma, beta, axis=-1, epsilon=epsilon)
    x = add("Reshape", "0.x", x, flat)

    mask = add("Cast", "mask", "attention_mask", to=TensorProto.FLOAT)
    away = add("Mul", "away", add("Sub", "without", mask, one), constant("far", np.float32(1e9)))
    away = add("Unsqueeze", "hidden", away, constant("middle", np.int64([1, 2])))
    for layer in range(layers):
        base = f"encoder.encoder.layer.{layer}"
        inner = f"{base}.attention.self"
        rows = rounds(x)
        turned = {"query": [0, 2, 1, 3], "key": [0, 2, 3, 1], "value": [0, 2, 1, 3]}
        made = {}
        for kind, order in turned.items():
            biased = add("Add", f"{layer}.{kind}.biased", product(f"{layer}.{kind}.flat", rows, f"{inner}.{kind}"),
                         constant(f"{inner}.{kind}.bias", found[f"{inner}.{kind}.bias"]))
            made[kind] = add("Transpose", f"{layer}.{kind}", add("Reshape", f"{layer}.{kind}.heads", biased, split), perm=order)
        alike = add("FusedMatMul", f"{layer}.alike", made["query"], made["key"], domain=MS, alpha=float((width // heads) ** -0.5))
        share = add("Softmax", f"{layer}.share", add("Add", f"{layer}.masked", alike, away), axis=-1)
        seen = add("Transpose", f"{layer}.together", add("MatMul", f"{layer}.seen", share, made["value"]), perm=[0, 2, 1, 3])
        context = add("Reshape", f"{layer}.context", seen, flat)
        y = product(f"{layer}.attended", rounds(context), f"{base}.attention.output.dense")
        x = normalised(f"{layer}.y", y, x, f"{base}.attention.output.LayerNorm", f"{base}.attention.output.dense")
        z = product(f"{layer}.wide", rounds(x), f"{base}.intermediate.dense")
        z = add("BiasGelu", f"{layer}.z", z, constant(f"{base}.wide.bias", found[f"{base}.intermediate.dense.bias"]), domain=MS)
        z = product(f"{layer}.narrow", rounds(z), f"{base}.output.dense")
        x = normalised(f"{layer + 1}.x", z, x, f"{base}.output.LayerNorm", f"{base}.output.dense")

    kept = add("Unsqueeze", "kept", mask, constant("last", np.int64([2])))
    total = add("ReduceSum", "total", add("Mul", "real", add("Reshape", "states", x, whole), kept), constant("second axis", np.int64([1])), keepdims=0)
    count = add("Max", "count", add("ReduceSum", "counted", kept, constant("second axis", np.int64([1])), keepdims=0), one)
    pooled = add("Div", "pooled", total, count)
    outputs = []
    for head in HEADS:
        weight, bias = (constant(f"{head}.{kind}", found[f"{head}.{kind}"]) for kind in ("weight", "bias"))
        add("Gemm", f"{head}_logits", pooled, weight, bias, transB=1)
        outputs.append(helper.make_tensor_value_info(f"{head}_logits", TensorProto.FLOAT, ["batch", len(found[f"{head}.bias"])]))
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in ("input_ids", "attention_mask")]
    whole_graph = helper.make_graph(graph.nodes, "bert", inputs, outputs, list(graph.constants.values()))
    return helper.make_model(whole_graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)], ir_version=8)
