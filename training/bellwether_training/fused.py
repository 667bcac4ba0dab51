"""A BERT of two heads as a graph written by hand for CPUs: whole int8 products with the activations of every row rounded by a scale
of its own, so that batch mates move nothing, and what lies between the products in few operators.

A few columns of the activations are many times as large as the rest and would take its digits. So each column is divided by a number of its
own, and its weights are multiplied by it (SmoothQuant, Xiao et al. 2023); where large values come in any column, in the middle of a
feed-forward block, four parts of a row are rounded by scales of their own."""

import re

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HEADS = ("topic", "sentiment")
ZERO = 128
# Parts of the rows in the middle of a feed-forward block.
PARTS = 4
# How much of a column's size goes over to its weights, 0 to 1.
SMOOTHING = 0.7


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The weights of an export, fp32, by PyTorch's names below `encoder.`, `topic.`, `sentiment.`; undoes `rows-N`, `fused` and int8 tables."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    if "words.int8" in tensors:
        return _handwritten(tensors)
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


def _handwritten(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights of a model that `build` made."""
    names = {"encoder.embeddings.weight": "encoder.embeddings.LayerNorm.weight", "encoder.embeddings.bias": "encoder.embeddings.LayerNorm.bias"}
    found = {re.sub(r"\.wide\.bias$", ".intermediate.dense.bias", names.get(name, name)): array for name, array in tensors.items()
             if name.endswith((".weight", ".bias"))}
    words, steps = tensors["words.int8"].astype(np.float32) - ZERO, tensors["words.steps"]
    found["encoder.embeddings.word_embeddings.weight"] = (words.reshape(*steps.shape, -1) * steps[..., None]).reshape(words.shape)
    # Both are one by now.
    found["encoder.embeddings.position_embeddings.weight"] = tensors["positions"]
    found["encoder.embeddings.token_type_embeddings.weight"] = np.zeros((2, words.shape[1]), np.float32)
    whole = {name.removesuffix(".int8"): array.T * tensors[name.removesuffix("int8") + "steps"][:, None] for name, array in tensors.items()
             if name.endswith(".int8") and name != "words.int8"}
    found |= {f"{part}.weight": array for part, array in whole.items() if not part[-1].isdigit()}
    layers = _layers(found)
    for layer in range(layers):
        part = f"encoder.encoder.layer.{layer}.output.dense"
        found[f"{part}.weight"] = np.concatenate([whole[f"{part}.{i}"] for i in range(PARTS)], axis=1)
    for name, products in evened(layers):
        for part in products if f"{name}.factors" in tensors else ():
            found[f"{part}.weight"] = found[f"{part}.weight"] * tensors[f"{name}.factors"]
    return {name: array.astype(np.float32) for name, array in found.items()}


def evened(layers: int) -> list[tuple[str, list[str]]]:
    """What is rounded and divided by columns: the value's name in the graph, and the products that take it."""
    base = "encoder.encoder.layer"
    return [entry for layer in range(layers) for entry in (
        (f"{layer}.x", [f"{base}.{layer}.attention.self.{kind}" for kind in ("query", "key", "value")]),
        (f"{layer}.y", [f"{base}.{layer}.intermediate.dense"]))]


def divisors(found: dict[str, np.ndarray], heads: int, epsilon: float, rows: list[np.ndarray]) -> dict[str, np.ndarray]:
    """For each of `evened` a divisor a column, from its size in the fp32 model over `rows` (token ids, one text each) and in the weights:
    |x|ᵅ / |w|¹⁻ᵅ, α = SMOOTHING, with a geometric mean of 1."""
    import onnxruntime

    model = build(found, heads, epsilon, rounded=False)
    taken = evened(_layers(found))
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name, _ in taken)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    sizes: dict[str, list[np.ndarray]] = {name: [] for name, _ in taken}
    for ids in rows:
        values = session.run([name for name, _ in taken], {"input_ids": ids[None], "attention_mask": np.ones_like(ids[None])})
        for (name, _), value in zip(taken, values):
            sizes[name].append(np.abs(value))
    result = {}
    for name, products in taken:
        # Not the very largest: one text shall not decide.
        size = np.maximum(np.percentile(np.concatenate(sizes[name]), 99.9, axis=0), 1e-3)
        weight = np.maximum(np.abs(np.concatenate([found[f"{part}.weight"] for part in products])).max(0), 1e-4)
        divisor = size**SMOOTHING / weight ** (1 - SMOOTHING)
        result[name] = (divisor / np.exp(np.log(divisor).mean())).astype(np.float32)
    return result


def _layers(found: dict[str, np.ndarray]) -> int:
    return 1 + max(int(name.split(".")[3]) for name in found if name.startswith("encoder.encoder.layer."))


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


def build(found: dict[str, np.ndarray], heads: int, epsilon: float = 1e-12, rounded: bool = True,
          divided: dict[str, np.ndarray] | None = None) -> onnx.ModelProto:
    """`input_ids`, `attention_mask` [batch, sequence] → `topic_logits`, `sentiment_logits`.

    `rounded`: int8 products, else fp32. `divided`: see `divisors`.
    """
    graph = Graph()
    add, constant = graph.add, graph.constant
    width = found["encoder.embeddings.word_embeddings.weight"].shape[1]
    layers, divided = _layers(found), divided or {}

    factors = {part: divided[name] for name, products in evened(layers) if name in divided for part in products}
    zero, one = constant("zero", np.uint8([ZERO])[0]), constant("one", np.float32(1))
    lengths = add("Shape", "shape", "input_ids")
    flat = constant("flat", np.int64([-1, width]))
    split = add("Concat", "split", lengths, constant("by heads", np.int64([heads, width // heads])), axis=0)
    whole = add("Concat", "whole", lengths, constant("width", np.int64([width])), axis=0)

    def rounds(x: str) -> tuple[str, str]:
        """Rows in int8 and their scales [rows, 1]; without rounding, as they are."""
        if not rounded:
            return x, ""
        if x in divided:
            x = add("Mul", f"{x}.even", x, constant(f"{x}.factors", 1 / divided[x]))
        largest = add("ReduceMax", f"{x}.largest", add("Abs", f"{x}.size", x), axes=[1], keepdims=1)
        scale = add("Max", f"{x}.step", add("Mul", f"{x}.scaled", largest, constant("step", np.float32(1 / 127))), constant("least", np.float32(1e-12)))
        steps = add("Reshape", f"{x}.steps", scale, constant("all", np.int64([-1])))
        zeros = add("Expand", f"{x}.zeros", constant("zeros", np.uint8([ZERO])), add("Shape", f"{x}.rows", steps))
        return add("QuantizeLinear", f"{x}.int8", x, steps, zeros, axis=0), scale

    def product(name: str, x: tuple[str, str], part: str, weight: np.ndarray | None = None) -> str:
        """x · weightᵀ, without the bias."""
        weight = found[f"{part}.weight"] if weight is None else weight
        if not rounded:
            return add("MatMul", name, x[0], constant(f"{part}.weight", weight.T))
        weight = weight * factors.get(part, np.float32(1))
        # Processors without VNNI add the products of two neighbours in 16 bits: 255 · (|a| + |b|) shall fit, rounding included.
        neighbours = np.abs(weight).reshape(len(weight), -1, 2).sum(-1)
        steps = np.maximum(neighbours.max(1) / 127, 1e-12).astype(np.float32)
        values = np.rint(weight / steps[:, None]).astype(np.int8).T
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
        z = add("BiasGelu", f"{layer}.wide.z", z, constant(f"{base}.wide.bias", found[f"{base}.intermediate.dense.bias"]), domain=MS)
        if rounded:
            parts = np.split(found[f"{base}.output.dense.weight"], PARTS, axis=1)
            values = add("Split", f"{layer}.z", z, outputs=PARTS, axis=1)
            z = add("Sum", f"{layer}.narrow", *(product(f"{layer}.narrow.{i}", rounds(value), f"{base}.output.dense.{i}", weight)
                                                for i, (value, weight) in enumerate(zip(values, parts))))
        else:
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
