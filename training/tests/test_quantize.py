"""Every int8 form loads and keeps the answers; the one that is chosen gives a text the same answer whatever it is batched with."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import toys

from bellwether_training import card, export, fused, prepare, quantize
from bellwether_training.config import Quantize
from bellwether_training.onnx_model import OnnxModel, softmax

# Rows are rounded one by one: batch mates change nothing but the order of sums in what is left in float (10⁻⁶ was measured), which
# on another processor might move an activation by a step.
ALONE_AS_BATCHED = 0.002


@pytest.fixture(scope="module")
def texts(built) -> list[str]:
    return [row.text for row in prepare.load(built.splits, "development")]


@pytest.fixture
def copied(built, tmp_path) -> Path:
    """The model directory, to be changed."""
    return Path(shutil.copytree(built.model, tmp_path / "model"))


def furthest(one: dict, two: dict) -> float:
    return max(float(np.abs(one[head] - two[head]).max()) for head in one)


@pytest.mark.parametrize("variant", sorted({*Quantize().variants, "fused", "static-tensor", "static-no-output"}))
def test_every_variant_loads_and_labels_as_fp32_does(built, texts, tmp_path, variant):
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(built.model / name, tmp_path)
    quantize.make(variant, built.model, tmp_path / "model.int8.onnx", texts[:32])
    found, expected = OnnxModel(tmp_path).logits(texts), OnnxModel(built.model, "model.onnx").logits(texts)
    for head in expected:
        assert (found[head].argmax(-1) == expected[head].argmax(-1)).mean() > 0.95
    assert furthest(found, expected) > 0
    assert (tmp_path / "model.int8.onnx").stat().st_size < 0.6 * (built.model / "model.onnx").stat().st_size


@pytest.mark.parametrize("variant", ["rows-64", "fused"])
def test_a_form_that_rounds_by_row_gives_a_text_the_same_answer_alone_and_batched(variant, built, texts, tmp_path):
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(built.model / name, tmp_path)
    quantize.make(variant, built.model, tmp_path / "model.int8.onnx", [])
    model = OnnxModel(tmp_path)
    # Short and long texts together: padding and wide ranges are what moves other forms.
    mixed = [*texts[:40], "oil", " ".join(toys.FILLERS)]
    alone = model.logits(mixed, batch=1)
    assert furthest(alone, model.logits(mixed, batch=len(mixed))) < ALONE_AS_BATCHED
    assert furthest(alone, model.logits(mixed, batch=7)) < ALONE_AS_BATCHED


def test_batch_mates_move_the_answers_of_a_form_with_one_scale_for_the_batch(built, texts, tmp_path):
    """What the test above guards against is real, and would be seen."""
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(built.model / name, tmp_path)
    quantize.make("dynamic-tensor", built.model, tmp_path / "model.int8.onnx", [])
    model = OnnxModel(tmp_path)
    assert furthest(model.logits(texts[:40], batch=1), model.logits(texts[:40], batch=40)) > 5 * ALONE_AS_BATCHED


def nodes(file: Path) -> list[onnx.NodeProto]:
    return list(onnx.load(file).graph.node)


def test_rows_64_computes_in_int8(built, tmp_path):
    """Without the accuracy level its weights are small, and its sums as slow as in fp32."""
    quantize.make("rows-64", built.model, tmp_path / "rows.onnx", [])
    products = [{field.name: field.i for field in node.attribute} for node in nodes(tmp_path / "rows.onnx") if node.op_type == "MatMulNBits"]
    # Two layers of six matrices, and two heads may be Gemm.
    assert len(products) >= 12
    assert all(tuple(map(product.get, ("accuracy_level", "bits", "block_size"))) == (4, 8, 64) for product in products)


def test_the_fused_graph_in_fp32_is_the_exported_one(built, texts, tmp_path):
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(built.model / name, tmp_path)
    heads = json.loads((built.model / "config.json").read_text())["num_attention_heads"]
    exact = onnx.load(built.model / "model.onnx")
    onnx.save(fused.build(fused.weights(exact), heads, rounded=False), tmp_path / "model.int8.onnx")
    # The table of embeddings alone is rounded in it.
    assert furthest(OnnxModel(tmp_path).logits(texts), OnnxModel(built.model, "model.onnx").logits(texts)) < 0.05


@pytest.mark.parametrize("variant", ["rows-64", "fused"])
def test_weights_come_back_from_a_rounded_model_within_a_step(variant, built, texts, tmp_path):
    quantize.make(variant, built.model, tmp_path / "rounded.onnx", texts)
    rounded = onnx.load(tmp_path / "rounded.onnx")
    found, expected = fused.weights(rounded), fused.weights(onnx.load(built.model / "model.onnx"))
    assert found.keys() == expected.keys()
    # With every whole number one, a weight is as large as its step.
    for tensor in rounded.graph.initializer:
        if tensor.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8):
            one = fused.ZERO + 1 if tensor.data_type == onnx.TensorProto.UINT8 else 1
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.full_like(onnx.numpy_helper.to_array(tensor), one), tensor.name))
    steps = fused.weights(rounded)
    if variant == "fused":
        # Texts are of one type: what it adds stands with the positions.
        types, places = (f"encoder.embeddings.{kind}_embeddings.weight" for kind in ("token_type", "position"))
        expected[places] = expected[places] + expected.pop(types)[0]
        del found[types]
    for name, array in expected.items():
        off = np.abs(found[name] - array)
        if (steps[name] == found[name]).all():
            assert off.max() < 1e-6, name
        elif variant == "fused":
            assert (off <= 0.501 * np.abs(steps[name])).all(), name
        else:
            # It has no number for its largest weights where these are of both signs.
            assert (off <= 1.001 * np.abs(steps[name])).all() and off.max() <= np.abs(array).max() / 127, name


def test_sums_of_neighbours_fit_sixteen_bits(built, texts, tmp_path):
    quantize.make("fused", built.model, tmp_path / "fused.onnx", texts)
    whole = [onnx.numpy_helper.to_array(tensor).astype(int) for tensor in onnx.load(tmp_path / "fused.onnx").graph.initializer
             if tensor.data_type == onnx.TensorProto.INT8]
    # Four products of attention, one to the middle of a block, four parts back.
    assert len(whole) == 2 * 9
    for array in whole:
        sums = np.abs(array).reshape(-1, 2, array.shape[1]).sum(1)
        assert sums.max() * 255 < 2**15 and sums.max() > 100


def test_a_column_many_times_as_large_as_the_rest_costs_no_digits(built, texts):
    """Its weights are that much smaller: what comes out of the product is about the same, and near what it is in fp32."""
    heads = json.loads((built.model / "config.json").read_text())["num_attention_heads"]
    found = fused.weights(onnx.load(built.model / "model.onnx"))
    norm, wide = "encoder.encoder.layer.0.attention.output.LayerNorm", "encoder.encoder.layer.0.intermediate.dense.weight"
    for name, factor in {f"{norm}.weight": 60, f"{norm}.bias": 60}.items():
        found[name] = np.where(np.arange(len(found[name])) == 3, factor * found[name], found[name]).astype(np.float32)
    found[wide] = np.where(np.arange(found[wide].shape[1]) == 3, found[wide] / 60, found[wide]).astype(np.float32)
    tokenizer = OnnxModel(built.model).tokenizer
    rows = [np.array(tokenizer.encode(text).ids, np.int64) for text in texts]
    divided = fused.divisors(found, heads, 1e-12, rows)
    assert all(abs(np.log(values).mean()) < 1e-4 for values in divided.values()) and divided["0.y"].argmax() == 3

    def product(**options) -> np.ndarray:
        model = fused.build(found, heads, **options)
        model.graph.output.append(onnx.helper.make_tensor_value_info("0.wide", onnx.TensorProto.FLOAT, None))
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.concatenate([session.run(["0.wide"], {"input_ids": ids[None], "attention_mask": np.ones_like(ids[None])})[0] for ids in rows])

    exact = product(rounded=False)
    plain, evened = (float(np.abs(product(**options) - exact).mean()) for options in ({}, {"divided": divided}))
    assert evened < plain / 4, (evened, plain)


@pytest.mark.parametrize("variant", ["rows-64", "fused"])
def test_the_weights_of_a_rounded_model_stand_for_an_export_that_is_gone(variant, built, texts, tmp_path):
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(built.model / name, tmp_path)
    quantize.make(variant, built.model, tmp_path / "model.int8.onnx", texts)
    export.half(tmp_path)
    assert not (tmp_path / "model.onnx").exists(), "what was not there is not left there"
    export.again(tmp_path)
    expected = OnnxModel(tmp_path).logits(texts)
    for file in ("model.onnx", "model.fp16.onnx"):
        assert furthest(OnnxModel(tmp_path, file).logits(texts), expected) < 0.05, file
    card.checksum(tmp_path)
    assert "model.fp16.onnx" in (tmp_path / "SHA256SUMS").read_text()


def test_an_export_in_fp32_is_what_fp16_is_made_of_and_stays_as_it_is(copied):
    before = (copied / "model.onnx").read_bytes()
    (copied / "model.fp16.onnx").unlink()
    export.half(copied)
    assert (copied / "model.onnx").read_bytes() == before and (copied / "model.fp16.onnx").exists()


def test_only_the_large_embedding_table_is_rounded(built):
    assert [node.op_type for node in nodes(built.model / "model.int8.onnx")].count("GatherBlockQuantized") == 1
    assert "GatherBlockQuantized" not in [node.op_type for node in nodes(built.model / "model.onnx")]


def test_a_rounded_embedding_is_off_by_half_a_step_of_its_block_at_most(tmp_path):
    table = np.random.default_rng(1).normal(0, [[1.0], [20.0]] * 500, (1000, 64)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gather", ["table", "ids"], ["states"], name="words")], "lookup",
        [onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["rows"])],
        [onnx.helper.make_tensor_value_info("states", onnx.TensorProto.FLOAT, ["rows", 64])],
        [onnx.numpy_helper.from_array(table, "table")])
    quantize.embed(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"ids": np.arange(1000)})
    half_a_step = np.abs(table.reshape(1000, 2, 32)).max(-1, keepdims=True) / 127 / 2
    assert (np.abs(found - table).reshape(1000, 2, 32) <= 1.001 * half_a_step).all()


def test_the_table_says_why_the_chosen_form_was_chosen(built):
    settings, found = built.config.quantize, json.loads((built.model / "quantize.json").read_text())
    assert found == built.quantized and found["variants"].keys() == {"fp32", *settings.variants}
    whole, chosen = found["variants"]["fp32"], found["variants"][found["chosen"]]
    kept = {name: entry for name, entry in found["variants"].items() if entry.get("kept")}
    assert found["chosen"] == max(kept, key=lambda name: kept[name]["texts_per_cpu_second"])
    for head in ("topic", "sentiment"):
        assert chosen[head]["accuracy"] >= whole[head]["accuracy"] - settings.largest_loss
        assert chosen[head]["alone_as_batched"] >= settings.least_agreement


def test_a_form_that_is_fast_and_wrong_is_not_chosen(built, copied, monkeypatch):
    made = quantize.make

    def broken(variant: str, directory: Path, target: Path, calibration: list[str]) -> None:
        made(variant, directory, target, calibration)
        if variant == "rows-128":
            model = onnx.load(target)
            [bias] = [tensor for tensor in model.graph.initializer if tensor.name.endswith("sentiment.bias")]
            bias.CopyFrom(onnx.numpy_helper.from_array(np.array([99, 0, 0], np.float32), bias.name))
            onnx.save(model, target)

    monkeypatch.setattr(quantize, "make", broken)
    monkeypatch.setattr(OnnxModel, "texts_per_cpu_second", lambda model, texts: 100.0 if "128" in model.session._model_path else 1.0)
    config = built.config.model_copy(update={"quantize": Quantize(variants=["rows-64", "rows-128"])})
    found = quantize.run(config, built.splits, copied)
    assert found["variants"]["rows-128"]["texts_per_cpu_second"] == 100 and not found["variants"]["rows-128"]["kept"]
    assert found["chosen"] == "rows-64"


def test_it_is_refused_when_no_form_keeps_what_it_must(built, copied):
    before = (copied / "model.int8.onnx").read_bytes()
    config = built.config.model_copy(update={"quantize": Quantize(variants=["rows-64"], largest_loss=-1.0)})
    with pytest.raises(RuntimeError, match="largest_loss"):
        quantize.run(config, built.splits, copied)
    assert (copied / "model.int8.onnx").read_bytes() == before


def test_calibration_is_done_on_texts_of_all_sources(built, copied, monkeypatch):
    sources = {row.text: row.source for row in prepare.load(built.splits, "development")}
    seen = []
    made = quantize.make
    monkeypatch.setattr(quantize, "make", lambda variant, directory, target, calibration: (seen.extend(calibration), made(variant, directory, target, calibration)))
    quantize.run(built.config.model_copy(update={"quantize": Quantize(variants=["rows-64"], calibration_rows=20)}), built.splits, copied)
    assert len(seen) == 20 and {sources[text] for text in seen} == {"topics", "sentiments"}


def test_calibrate_writes_the_temperatures_that_it_returns(built, copied):
    rows = prepare.load(built.splits, "development")
    settings = json.loads((copied / "config.json").read_text())
    for value in settings["heads"].values():
        value["temperature"] = 3.0
    (copied / "config.json").write_text(json.dumps(settings))
    found = quantize.calibrate(copied, rows)
    assert OnnxModel(copied).temperatures == found == built.quantized["temperatures"]
    # What stood there is gone; a fit that would sharpen, as on these few rows, is not taken.
    assert all(1 <= value < 3 for value in found.values())
    model = OnnxModel(copied)
    logits = model.logits([row.text for row in rows])
    for head, labels in model.labels.items():
        known = [place for place, row in enumerate(rows) if getattr(row, head)]
        truth = np.array([labels.index(getattr(rows[place], head)) for place in known])
        before, after = (values[known][np.arange(len(known)), truth] for values in (softmax(logits[head] / 3), model.probabilities(logits)[head]))
        assert np.log(after).mean() > np.log(before).mean()
