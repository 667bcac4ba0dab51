"""One encoder, two heads. Mean of the last hidden states over real tokens, then a linear layer per head."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer

from .config import Config


class TwoHeads(nn.Module):
    """`input_ids`, `attention_mask`: int64 [batch, sequence] → logits [batch, topics], [batch, sentiments]."""

    def __init__(self, encoder: nn.Module, topics: int, sentiments: int, dropout: float = 0.1):
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.topic = nn.Linear(encoder.config.hidden_size, topics)
        self.sentiment = nn.Linear(encoder.config.hidden_size, sentiments)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        pooled = self.dropout(pooled)
        return self.topic(pooled), self.sentiment(pooled)


def build(config: Config, encoder: str) -> TwoHeads:
    """A model to be trained, from a folder or hub name; keeps the layers that the configuration names."""
    kwargs = {"add_pooling_layer": False} if AutoConfig.from_pretrained(encoder).model_type == "bert" else {}
    body = AutoModel.from_pretrained(encoder, **kwargs)
    if config.encoder.layers:
        body.encoder.layer = nn.ModuleList(body.encoder.layer[i] for i in config.encoder.layers)
        body.config.num_hidden_layers = len(config.encoder.layers)
    return TwoHeads(body, len(config.labels.topic), len(config.labels.sentiment), config.training.dropout)


def save(model: TwoHeads, tokenizer, folder: Path, encoder: str) -> None:
    """Weights, encoder configuration and tokenizer: all that `load` needs."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), folder / "weights.pt")
    model.encoder.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "encoder.json").write_text(json.dumps({"source": encoder}))


def load(config: Config, folder: Path) -> tuple[TwoHeads, object]:
    """The model of a finished run, ready for inference, and its tokenizer."""
    settings = AutoConfig.from_pretrained(folder)
    kwargs = {"add_pooling_layer": False} if settings.model_type == "bert" else {}
    model = TwoHeads(AutoModel.from_config(settings, **kwargs), len(config.labels.topic), len(config.labels.sentiment))
    model.load_state_dict(torch.load(folder / "weights.pt", map_location="cpu", weights_only=True))
    return model.eval(), AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def logits(model: TwoHeads, tokenizer, texts: list[str], max_length: int, device: str = "cpu", batch: int = 64) -> tuple[Tensor, Tensor]:
    """Logits of both heads in the order of the texts, computed in length-sorted batches in bf16 (fp32 where it is not to be had)."""
    model.eval()
    encoded = [ids[:max_length] for ids in tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]]
    order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))
    topic = torch.empty(len(texts), model.topic.out_features)
    sentiment = torch.empty(len(texts), model.sentiment.out_features)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        ids, mask = pad([encoded[i] for i in chosen], tokenizer.pad_token_id)
        with torch.autocast(device, dtype=torch.bfloat16):
            one, two = model(ids.to(device), mask.to(device))
        topic[chosen], sentiment[chosen] = one.float().cpu(), two.float().cpu()
    return topic, sentiment


def pad(rows: list[list[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Token ids → `input_ids`, `attention_mask`, both int64 [batch, longest]."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad_id)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask
