"""Trains both heads together: masked multi-task loss, early stopping, a checkpoint at every evaluation to go on from."""

import hashlib
import json
import math
import random
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import encoders, prepare
from .config import Config, ConfigError, Training
from .config import load as load_config
from .model import TwoHeads, build, load, logits, pad, save
from .onnx_model import OnnxModel
from .prepare import Row
from .text import passage

IGNORE = -100
HEADS = ("topic", "sentiment")
# A source with fewer development rows says too little to choose by, unless there is no larger one.
LEAST_ROWS = 30


def run(config: Config, splits: Path, out: Path, cache: Path, progress=None) -> dict:
    """Trains into `out` (`best/`, `log.json`, `checkpoint.pt` while it lasts) and returns the best development scores.

    Started again after an interruption it goes on from the last checkpoint; a finished run of the same configuration and rows is not
    done again. Uses a CUDA device if there is one, in bf16.
    Raises ConfigError when a head has no labels to learn or to choose by, or the checkpoint is of another configuration or other rows.
    """
    if config.training.distill.born_again or config.training.distill.recipes:
        config = _with_teachers(config, splits, out, cache, progress)
    fingerprint = hashlib.sha256((splits / "train.jsonl").read_bytes()).hexdigest()
    if found := _finished(out, config, fingerprint):
        return found
    settings = config.training
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows, development = prepare.load(splits, "train"), prepare.load(splits, "development")
    random.Random(config.seed).shuffle(rows)
    if settings.rows:
        development += rows[settings.rows : settings.rows + settings.held_out_rows]
        rows = rows[: settings.rows]
    if settings.pseudo_rows:
        rows += prepare.load(splits, "unlabelled")[: settings.pseudo_rows]
    for split, some in (("train", rows), ("development", development)):
        for head in HEADS:
            if not any(getattr(row, head) for row in some) and not (split == "train" and settings.distill.teachers):
                raise ConfigError(f"{splits}: no {split} row has a {head} label, and both heads need some")
    torch.manual_seed(config.seed)
    source = encoders.fetch(config.encoder, cache)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source)
    model = build(config, source).to(device)
    if settings.freeze_embeddings:
        model.encoder.embeddings.requires_grad_(False)
    taught = _taught(config, rows, device) if settings.distill.teachers else None
    weights = _class_weights(config, rows)

    optimizer = torch.optim.AdamW(_groups(model, config), weight_decay=settings.weight_decay, fused=True)
    per_epoch = math.ceil(len(rows) / settings.batch_size)
    total = max(1, round(per_epoch * settings.epochs))
    warm = max(1, round(total * settings.warmup))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, max(0.0, (total - step) / max(1, total - warm)))
    )
    average = {name: value.detach().clone() for name, value in model.state_dict().items()} if settings.ema else None
    step, best, stale, history = 0, -1.0, 0, []
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=False)
        if state["config"] != config.model_dump_json():
            raise ConfigError(f"{checkpoint} is of another configuration: remove {out}, or choose another folder")
        if state.get("rows", fingerprint) != fingerprint:
            raise ConfigError(f"{checkpoint} is of other training rows than {splits} has: remove {out}, or choose another folder")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        average, step, best, stale, history = (state[key] for key in ("average", "step", "best", "stale", "history"))

    every = max(1, round(per_epoch / settings.evaluations_per_epoch))
    started, losses, tokens = time.process_time(), [], 0
    task = progress(total, step) if progress else lambda *_: None
    while step < total and stale < settings.patience:
        epoch, at = divmod(step, per_epoch)
        batches = _batches(rows, tokenizer, config, epoch)
        torch.manual_seed(config.seed * 1_000_003 + step)
        model.train()
        for chosen, encoded in batches[at:]:
            ids, mask = pad(encoded, tokenizer.pad_token_id)
            batch = [rows[i] for i in chosen]
            teacher = tuple(part[chosen] for part in taught) if taught else None
            loss = _step(model, ids.to(device), mask.to(device), batch, teacher, weights, config, device)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            losses.append(loss)
            tokens += int(mask.sum())
            if average is not None and step % 4 == 0:
                _update(average, model, min(settings.ema, (step + 1) / (step + 10)) ** 4)
            task(step, loss)
            if step % every == 0 or step >= total:
                break
        scores = _evaluate(model, average, tokenizer, development, config, device)
        score = scores["score"]
        history.append({"step": step, "epoch": step / per_epoch, "loss": float(np.mean(losses)), "cpu_seconds": time.process_time() - started,
                        "tokens": tokens, **scores})
        losses = []
        if score > best:
            best, stale = score, 0
            _save(model, average, tokenizer, out / "best", source)
        else:
            stale += 1
        _log(out, config, fingerprint, history, finished=False)
        unfinished = checkpoint.with_suffix(".new")
        torch.save({"config": config.model_dump_json(), "rows": fingerprint, "model": model.state_dict(), "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(), "average": average, "step": step, "best": best, "stale": stale,
                    "history": history}, unfinished)
        unfinished.replace(checkpoint)
    _log(out, config, fingerprint, history, finished=True)
    checkpoint.unlink(missing_ok=True)
    return _best(history)


def _best(history: list[dict]) -> dict:
    return max(history, key=lambda entry: entry["score"])


def _log(out: Path, config: Config, rows: str, history: list[dict], finished: bool) -> None:
    (out / "log.json").write_text(json.dumps({"config": config.model_dump(), "rows": rows, "finished": finished, "history": history}, indent=1))


def _finished(out: Path, config: Config, rows: str) -> dict | None:
    """The best development scores of the run in `out`, if it is this one and came to its end."""
    path = out / "log.json"
    log = json.loads(path.read_text()) if path.exists() and (out / "best" / "weights.pt").exists() else {}
    same = log.get("finished") and log["rows"] == rows and log["config"] == json.loads(config.model_dump_json())
    return _best(log["history"]) if same else None


def _with_teachers(config: Config, splits: Path, out: Path, cache: Path, progress) -> Config:
    """Trains the teachers that the settings ask for, each untaught and on the same rows; gives the settings of their pupil.

    One by the same settings (born-again networks, Furlanello et al. 2018) into `out/teacher`, one by each recipe into `out/teacher-NAME`.
    """

    def distill(base: Config, teachers: list[str]) -> Config:
        plan = base.training.distill.model_copy(update={"born_again": False, "recipes": [], "teachers": teachers})
        return base.model_copy(update={"training": base.training.model_copy(update={"distill": plan})})

    asked = {out / "teacher": config} if config.training.distill.born_again else {}
    for recipe in config.training.distill.recipes:
        other = load_config(Path(recipe))
        if other.labels != config.labels:
            raise ConfigError(f"{recipe}: its labels are not those of {config.name}, so it cannot teach")
        asked[out / f"teacher-{other.name}"] = other
    for folder, teacher in asked.items():
        run(distill(teacher, []), splits, folder, cache, progress)
    return distill(config, [*config.training.distill.teachers, *map(str, asked)])


def search(config: Config, splits: Path, out: Path, cache: Path, progress=None) -> list[dict]:
    """Draws `config.search.trials` settings, trains each on few rows, and returns (and writes) them, best first.

    A trial that is already in `out/search.json` is not run again. Raises ConfigError for a value that `[training]` refuses.
    """
    plan, chance = config.search, random.Random(config.seed)
    path = out / "search.json"
    done = json.loads(path.read_text()) if path.exists() else []
    out.mkdir(parents=True, exist_ok=True)
    for number in range(plan.trials):
        drawn = {key: chance.choice(values) for key, values in sorted(plan.values.items())}
        if any(entry["drawn"] == drawn for entry in done):
            continue
        # Untaught: what is compared are settings, and teachers would be trained for every trial.
        settings = {**config.training.model_dump(exclude={"distill"}), **drawn}
        settings |= {"rows": plan.rows, "held_out_rows": plan.held_out_rows, "epochs": plan.epochs}
        try:
            trial = config.model_copy(update={"training": Training.model_validate(settings)})
        except ValueError as error:
            raise ConfigError(f"search.values: {error}") from error
        scores = run(trial, splits, out / f"trial-{number}", cache, progress)
        done.append({"drawn": drawn, **scores})
        path.write_text(json.dumps(sorted(done, key=lambda entry: -entry["score"]), indent=1))
    return sorted(done, key=lambda entry: -entry["score"])


def _groups(model: TwoHeads, config: Config) -> list[dict]:
    """Parameters by learning rate: the heads faster, each layer below the top slower by `layer_decay`."""
    settings = config.training
    layers = model.encoder.config.num_hidden_layers
    groups: dict[tuple[float, float], list] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        layer = re.search(r"layers?\.(\d+)\.", name)
        if name.startswith(HEADS):
            rate = settings.learning_rate * settings.head_rate
        else:
            depth = layers - 1 - int(layer[1]) if layer else layers
            rate = settings.learning_rate * settings.layer_decay**depth
        decay = 0.0 if parameter.ndim == 1 else settings.weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": members, "lr": rate, "weight_decay": decay} for (rate, decay), members in groups.items()]


def _batches(rows: list[Row], tokenizer, config: Config, epoch: int) -> list[tuple[list[int], list[list[int]]]]:
    """One epoch's batches of like length, in random order: padding stays small and the mixture random."""
    settings = config.training
    chance = random.Random(config.seed * 7919 + epoch)
    texts = [_varied(row, config, chance) for row in rows]
    encoded = tokenizer(texts, truncation=True, max_length=settings.max_tokens)["input_ids"]
    order = list(range(len(rows)))
    chance.shuffle(order)
    size, pool = settings.batch_size, settings.batch_size * 50
    batches = []
    for start in range(0, len(order), pool):
        near = sorted(order[start : start + pool], key=lambda i: len(encoded[i]))
        batches += [near[i : i + size] for i in range(0, len(near), size)]
    chance.shuffle(batches)
    return [(batch, [encoded[i] for i in batch]) for batch in batches]


def _varied(row: Row, config: Config, chance: random.Random) -> str:
    """The row's text, sometimes without its summary or its leading cashtag: neither may be what the model leans on."""
    settings = config.training
    title, body = row.title, row.body
    if title and body and len(title.split()) >= 6 and chance.random() < settings.body_dropout:
        body = None
    text = passage(title, body)
    if text.startswith("$") and chance.random() < settings.cashtag_dropout:
        bare = re.sub(r"^(?:\$[A-Z.]+[:,]?\s*)+(?:[-–:]\s*)?", "", text)
        text = bare if len(bare) > 10 else text
    return text


def _class_weights(config: Config, rows: list[Row]) -> tuple[Tensor, Tensor]:
    result = []
    for head in HEADS:
        counts = Counter(getattr(row, head) for row in rows)
        labels = getattr(config.labels, head)
        frequency = torch.tensor([max(1, counts[label]) for label in labels], dtype=torch.float)
        weight = (frequency.mean() / frequency) ** config.training.class_weight_power
        result.append(weight / (weight * frequency).sum() * frequency.sum())
    return tuple(result)


def _step(model, ids, mask, batch, teacher, weights, config: Config, device: str) -> float:
    """Forward and backward of one batch; returns its loss."""
    settings = config.training

    def passes() -> tuple[Tensor, Tensor]:
        with torch.autocast(device, dtype=torch.bfloat16):
            topic, sentiment = model(ids, mask)
        return topic.float(), sentiment.float()

    outputs = passes()
    loss = _loss(outputs, batch, teacher, weights, config)
    if settings.r_drop:
        again = passes()
        loss = (loss + _loss(again, batch, teacher, weights, config)) / 2
        loss = loss + settings.r_drop * sum(_symmetric_kl(one, two) for one, two in zip(outputs, again)) / 4
    loss.backward()
    if settings.adversarial:
        words = model.encoder.embeddings.word_embeddings.weight
        kept = words.data.clone()
        norm = words.grad.norm()
        if torch.isfinite(norm) and norm > 0:
            words.data.add_(words.grad, alpha=settings.adversarial / float(norm))
            _loss(passes(), batch, teacher, weights, config).backward()
            words.data.copy_(kept)
    return float(loss.detach())


def _loss(outputs, batch: list[Row], teacher, weights, config: Config) -> Tensor:
    """Cross-entropy over the heads that a row has a label for, and the teacher's word on all heads; mean over both."""
    settings = config.training
    device = outputs[0].device
    row_weight = torch.tensor([row.weight for row in batch], device=device)
    total, count = torch.zeros((), device=device), torch.zeros((), device=device)
    for number, head in enumerate(HEADS):
        labels = getattr(config.labels, head)
        target = torch.tensor([labels.index(getattr(row, head)) if getattr(row, head) else IGNORE for row in batch], device=device)
        known = (target != IGNORE).float()
        loss = F.cross_entropy(outputs[number], target, weight=weights[number].to(device), ignore_index=IGNORE,
                               reduction="none", label_smoothing=settings.label_smoothing)
        if settings.focal_gamma:
            chosen = F.softmax(outputs[number], -1).gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)
            loss = loss * (1 - chosen) ** settings.focal_gamma
        scale = row_weight * (settings.topic_weight if head == "topic" else 1.0)
        if teacher is None:
            total, count = total + (loss * known * scale).sum(), count + known.sum()
            continue
        share = settings.distill.share
        soft = teacher[number].to(device)
        student = F.log_softmax(outputs[number] / settings.distill.temperature, -1)
        taught = F.kl_div(student, soft, reduction="none").sum(-1) * settings.distill.temperature**2
        mixed = torch.where(known > 0, (1 - share) * loss + share * taught, share * taught)
        total, count = total + (mixed * scale).sum(), count + known.sum() + share * (1 - known).sum()
    return total / count.clamp(min=1)


def _symmetric_kl(one: Tensor, two: Tensor) -> Tensor:
    p, q = F.log_softmax(one, -1), F.log_softmax(two, -1)
    return (F.kl_div(p, q, log_target=True, reduction="batchmean") + F.kl_div(q, p, log_target=True, reduction="batchmean")) / 2


def _update(average: dict[str, Tensor], model: TwoHeads, decay: float) -> None:
    for name, value in model.state_dict().items():
        if value.dtype.is_floating_point:
            average[name].lerp_(value, 1 - decay)


def _evaluate(model, average, tokenizer, development, config, device) -> dict:
    """Development accuracies by source and head, and their mean, of the averaged weights if they are kept."""
    live = None
    if average is not None:
        live = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(average)
    outputs = logits(model, tokenizer, [row.text for row in development], config.encoder.max_length, device)
    if live is not None:
        model.load_state_dict(live)
    right: dict[str, list[bool]] = {}
    for number, head in enumerate(HEADS):
        labels = getattr(config.labels, head)
        predicted = outputs[number].argmax(-1).tolist()
        for row, choice in zip(development, predicted):
            if getattr(row, head):
                right.setdefault(f"{row.source}/{head}", []).append(labels[choice] == getattr(row, head))
    counted = {name: rows for name, rows in right.items() if len(rows) >= LEAST_ROWS} or right
    scores = {name: float(np.mean(rows)) for name, rows in counted.items()}
    scores["score"] = float(np.mean(list(scores.values())))
    return scores


def _save(model, average, tokenizer, folder: Path, source: str) -> None:
    live = {name: value.clone() for name, value in model.state_dict().items()} if average is not None else None
    if average is not None:
        model.load_state_dict(average)
    save(model, tokenizer, folder, source)
    if live is not None:
        model.load_state_dict(live)


def _taught(config: Config, rows: list[Row], device: str) -> tuple[Tensor, Tensor]:
    """The teachers' averaged probabilities for every row: [rows, topics], [rows, sentiments].

    A teacher is the folder of a run, or a model directory, whose int8 form answers then.
    Raises ConfigError where a model directory has other labels.
    """
    texts = [row.text for row in rows]
    temperature = config.training.distill.temperature
    total = None
    for folder in map(Path, config.training.distill.teachers):
        if (folder / "model.int8.onnx").exists():
            outputs = _answers(config, folder, texts)
        else:
            model, tokenizer = load(config, folder / "best")
            outputs = logits(model.to(device), tokenizer, texts, config.training.max_tokens, device)
        soft = [F.softmax(part / temperature, -1) for part in outputs]
        total = soft if total is None else [one + two for one, two in zip(total, soft)]
    return tuple(part / len(config.training.distill.teachers) for part in total)


def _answers(config: Config, directory: Path, texts: list[str]) -> list[Tensor]:
    model = OnnxModel(directory)
    for head in HEADS:
        if model.labels[head] != getattr(config.labels, head):
            raise ConfigError(f"{directory}: its labels of {head} are not those of this configuration, so it cannot teach")
    outputs = model.logits(texts)
    return [torch.from_numpy(outputs[head]) for head in HEADS]
