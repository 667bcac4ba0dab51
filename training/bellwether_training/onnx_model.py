"""Runs an exported model as production does: cleaned text, the tokenizer of the directory, length-sorted batches."""

import json
import time
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from .text import clean


class OnnxModel:
    """A model directory, or one ONNX file of it."""

    def __init__(self, directory: Path, file: str = "model.int8.onnx", threads: int = 0):
        self.config = json.loads((directory / "config.json").read_text())
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.config["max_length"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(directory / file), options, providers=["CPUExecutionProvider"])
        self.labels = {
            head: [value["id2label"][str(i)] for i in range(len(value["id2label"]))] for head, value in self.config["heads"].items()
        }
        self.temperatures = {head: value.get("temperature", 1.0) for head, value in self.config["heads"].items()}

    def logits(self, texts: list[str], batch: int = 16) -> dict[str, np.ndarray]:
        """Texts → logits of both heads, float32 [texts, labels], in the order of the texts."""
        encoded = [row.ids for row in self.tokenizer.encode_batch([clean(text) for text in texts])]
        order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))
        result = {head: np.empty((len(texts), len(labels)), np.float32) for head, labels in self.labels.items()}
        names = {head: self.config["heads"][head]["output"] for head in self.labels}
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            longest = max(len(encoded[i]) for i in chosen)
            ids = np.full((len(chosen), longest), self.config.get("pad_token_id", 0), np.int64)
            mask = np.zeros_like(ids)
            for row, i in enumerate(chosen):
                ids[row, : len(encoded[i])] = encoded[i]
                mask[row, : len(encoded[i])] = 1
            outputs = self.session.run(list(names.values()), {"input_ids": ids, "attention_mask": mask})
            for head, output in zip(names, outputs):
                result[head][chosen] = output
        return result

    def probabilities(self, logits: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """softmax(logits / temperature) of each head."""
        return {head: softmax(values / self.temperatures[head]) for head, values in logits.items()}

    def texts_per_cpu_second(self, texts: list[str], batch: int = 16) -> float:
        """Throughput, tokenising included, per second of CPU time of this process."""
        self.logits(texts[:64], batch)
        started = time.process_time()
        self.logits(texts, batch)
        return len(texts) / (time.process_time() - started)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, in float64."""
    powers = np.exp((logits - logits.max(-1, keepdims=True)).astype(np.float64))
    return powers / powers.sum(-1, keepdims=True)
