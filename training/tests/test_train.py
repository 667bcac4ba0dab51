"""Training learns, can be interrupted without a trace, and every technique that it offers does something."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import toys

from bellwether_training import prepare, train
from bellwether_training.config import Config, ConfigError
from bellwether_training.config import load as load_config
from bellwether_training.model import build, load, logits
from bellwether_training.prepare import Row

# 640 rows in batches of 16.
STEPS_PER_EPOCH = 40


class Interrupted(Exception):
    """What the test raises in the middle of a run."""


def interrupt_at(last: int):
    """A progress bar that breaks off after so many steps of the whole run."""

    def begin(total: int, at: int):
        def step_done(step: int, loss: float) -> None:
            if step == last:
                raise Interrupted

        return step_done

    return begin


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "best" / "weights.pt", weights_only=True)


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def history(run: Path) -> list[dict]:
    return json.loads((run / "log.json").read_text())["history"]


@pytest.fixture(scope="module")
def taught(encoder, splits, tmp_path_factory) -> Path:
    """A run that has learned the toy task."""
    run = tmp_path_factory.mktemp("taught")
    train.run(toys.config(encoder, epochs=3), splits, run, run)
    return run


# --- learning


def test_both_heads_learn_although_every_row_has_a_label_for_one_alone(encoder, splits, taught):
    model, tokenizer = load(toys.config(encoder), taught / "best")
    chance = toys.records(60, 99, "topic", "sentiment")
    topic, sentiment = logits(model, tokenizer, [record["text"] for record in chance], toys.MAX_LENGTH)
    # Chance would be 0.25 and 0.33.
    for outputs, head, labels in ((topic, "topic", list(toys.TOPIC_WORDS)), (sentiment, "sentiment", list(toys.SENTIMENT_WORDS))):
        right = [labels[choice] == record[head] for choice, record in zip(outputs.argmax(-1).tolist(), chance)]
        assert sum(right) / len(right) > 0.9, head


def test_the_scores_are_those_of_the_best_evaluation(taught):
    scores = [entry["score"] for entry in history(taught)]
    assert len(scores) == 3 and max(scores) > 0.9
    assert not (taught / "checkpoint.pt").exists()


def test_a_row_teaches_only_the_head_that_it_has_a_label_for(encoder):
    config = toys.config(encoder)
    outputs = (torch.zeros(2, 4, requires_grad=True), torch.zeros(2, 3, requires_grad=True))
    rows = [Row("a", "s", "train", "t", None, topic="Macro"), Row("b", "s", "train", "t", None, sentiment="positive")]
    even = (torch.ones(4), torch.ones(3))
    train._loss(outputs, rows, None, even, config).backward()
    topic, sentiment = (part.grad.abs().sum(-1) for part in outputs)
    assert topic[0] > 0 and sentiment[0] == 0 and topic[1] == 0 and sentiment[1] > 0


def test_the_loss_is_cross_entropy_averaged_over_labels_and_weighed_by_row(encoder):
    config = toys.config(encoder, label_smoothing=0.0)
    generator = torch.Generator().manual_seed(1)
    outputs = torch.randn(2, 4, generator=generator), torch.randn(2, 3, generator=generator)
    rows = [Row("a", "s", "train", "t", None, topic="Macro", sentiment="neutral"), Row("b", "s", "train", "t", None, sentiment="positive", weight=3.0)]
    parts = [F.cross_entropy(outputs[0][:1], torch.tensor([2])), F.cross_entropy(outputs[1][:1], torch.tensor([1])),
             3 * F.cross_entropy(outputs[1][1:], torch.tensor([2]))]
    found = train._loss(outputs, rows, None, (torch.ones(4), torch.ones(3)), config)
    assert found == pytest.approx(float(sum(parts)) / 3, rel=1e-6)


def test_a_teacher_who_agrees_with_the_pupil_teaches_nothing(encoder):
    config = toys.config(encoder, distill={"share": 1.0})
    outputs = (torch.randn(3, 4, generator=torch.Generator().manual_seed(2), requires_grad=True), torch.zeros(3, 3, requires_grad=True))
    rows = [Row(str(number), "s", "train", "t", None) for number in range(3)]
    agreeing = tuple(F.softmax(part.detach(), -1) for part in outputs)
    even = (torch.ones(4), torch.ones(3))
    assert train._loss(outputs, rows, agreeing, even, config).item() == pytest.approx(0, abs=1e-6)
    other = tuple(part.roll(1, -1) for part in agreeing)
    assert train._loss(outputs, rows, other, even, config).item() > 0.01


def test_rare_classes_weigh_more_by_the_power_that_is_asked_for(encoder):
    rows = [Row("", "s", "train", "t", None, topic="Macro")] * 9 + [Row("", "s", "train", "t", None, topic="Markets")]
    even, _ = train._class_weights(toys.config(encoder), rows)
    assert even.tolist() == pytest.approx([1, 1, 1, 1])
    topic, _ = train._class_weights(toys.config(encoder, class_weight_power=0.5), rows)
    assert float(topic[3] / topic[2]) == pytest.approx(3)


# --- interruption


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9, "r_drop": 1.0, "evaluations_per_epoch": 3}], ids=["plain", "with an average and three evaluations"])
def test_an_interrupted_run_goes_on_to_exactly_the_weights_of_an_uninterrupted_one(encoder, splits, tmp_path, settings):
    # So slow that one of the last evaluations is the best: its weights are made of steps on both sides of the interruption.
    config = toys.config(encoder, epochs=2, learning_rate=2e-4, **settings)
    whole = train.run(config, splits, tmp_path / "whole", tmp_path)
    with pytest.raises(Interrupted):
        train.run(config, splits, tmp_path / "broken", tmp_path, interrupt_at(STEPS_PER_EPOCH + 25))
    before = history(tmp_path / "broken")
    assert STEPS_PER_EPOCH <= before[-1]["step"] < whole["step"]
    began = []
    train.run(config, splits, tmp_path / "broken", tmp_path, lambda total, at: began.append(at) or (lambda *_: None))
    assert began == [before[-1]["step"]]
    assert same(weights(tmp_path / "broken"), weights(tmp_path / "whole"))
    losses = [[(entry["step"], entry["loss"], entry["score"]) for entry in history(tmp_path / name)] for name in ("broken", "whole")]
    assert losses[0] == losses[1]


def test_a_run_that_is_interrupted_while_it_saves_goes_on_from_the_checkpoint_before(encoder, splits, tmp_path, monkeypatch):
    config = toys.config(encoder, epochs=3, rows=64)
    saved = torch.save

    def break_off(state, path) -> None:
        if Path(path).parent == tmp_path / "run" and state["step"] == 8:
            Path(path).write_bytes(b"half of it")
            raise Interrupted
        saved(state, path)

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(torch, "save", break_off)
        train.run(config, splits, tmp_path / "run", tmp_path)
    began = []
    train.run(config, splits, tmp_path / "run", tmp_path, lambda total, at: began.append((total, at)) or (lambda *_: None))
    assert began == [(12, 4)]


@pytest.fixture
def broken(encoder, splits, tmp_path) -> Path:
    """A run of two epochs that broke off in the second."""
    with pytest.raises(Interrupted):
        train.run(toys.config(encoder, epochs=2, rows=64), splits, tmp_path / "run", tmp_path, interrupt_at(6))
    return tmp_path / "run"


def test_a_checkpoint_of_another_configuration_is_refused(encoder, splits, broken):
    with pytest.raises(ConfigError, match="another configuration"):
        train.run(toys.config(encoder, epochs=2, rows=64, learning_rate=1e-3), splits, broken, broken)


def test_a_checkpoint_of_other_rows_is_refused(encoder, broken, tmp_path):
    with pytest.raises(ConfigError, match="other training rows"):
        train.run(toys.config(encoder, epochs=2, rows=64), toys.write_splits(tmp_path / "others", train=200), broken, broken)


def test_a_finished_run_is_not_done_again_and_one_of_other_settings_is(encoder, splits, tmp_path):
    began = []

    def count(total, at):
        began.append(at)
        return lambda *_: None

    config = toys.config(encoder, epochs=1, rows=64)
    best = train.run(config, splits, tmp_path, tmp_path, count)
    assert train.run(config, splits, tmp_path, tmp_path, count) == best
    assert began == [0]
    train.run(toys.config(encoder, epochs=1, rows=64, learning_rate=1e-3), splits, tmp_path, tmp_path, count)
    assert began == [0, 0]


def test_a_pupil_is_born_again_from_a_teacher_of_the_same_settings(encoder, splits, tmp_path):
    plain = toys.config(encoder, epochs=1, rows=64)
    train.run(plain, splits, tmp_path / "plain", tmp_path)
    train.run(toys.config(encoder, epochs=1, rows=64, distill={"born_again": True}), splits, tmp_path / "pupil", tmp_path)
    assert same(weights(tmp_path / "pupil/teacher"), weights(tmp_path / "plain"))
    taught = toys.config(encoder, epochs=1, rows=64, distill={"teachers": [str(tmp_path / "plain")]})
    train.run(taught, splits, tmp_path / "taught", tmp_path)
    assert same(weights(tmp_path / "pupil"), weights(tmp_path / "taught"))
    assert not same(weights(tmp_path / "pupil"), weights(tmp_path / "plain"))


def test_recipes_name_further_teachers(encoder, splits, tmp_path):
    def written(name: str, **training) -> Config:
        path = tmp_path / f"{name}.toml"
        path.write_text(toys.as_toml(toys.config(encoder, epochs=1, rows=64, **training).model_copy(update={"name": name})))
        return load_config(path)

    other = written("other", learning_rate=3e-3)
    train.run(other, splits, tmp_path / "plain", tmp_path)
    train.run(written("pupil", distill={"recipes": ["other.toml"]}), splits, tmp_path / "pupil", tmp_path)
    assert same(weights(tmp_path / "pupil/teacher-other"), weights(tmp_path / "plain"))
    taught = toys.config(encoder, epochs=1, rows=64, distill={"teachers": [str(tmp_path / "plain")]})
    train.run(taught, splits, tmp_path / "taught", tmp_path)
    assert same(weights(tmp_path / "pupil"), weights(tmp_path / "taught"))


def test_a_recipe_of_other_labels_cannot_teach(encoder, splits, tmp_path):
    stranger = toys.config(encoder)
    stranger = stranger.model_copy(update={"labels": stranger.labels.model_copy(update={"topic": ["Weather"]})})
    (tmp_path / "stranger.toml").write_text(toys.as_toml(stranger))
    with pytest.raises(ConfigError, match="stranger.toml: its labels are not those of toy, so it cannot teach"):
        train.run(toys.config(encoder, distill={"recipes": [str(tmp_path / "stranger.toml")]}), splits, tmp_path / "run", tmp_path)


def test_a_run_without_progress_stops_early(encoder, splits, tmp_path):
    config = toys.config(encoder, epochs=10, rows=64, learning_rate=1e-9, patience=2)
    train.run(config, splits, tmp_path, tmp_path)
    assert [entry["step"] for entry in history(tmp_path)] == [4, 8, 12]


def test_evaluations_that_do_not_divide_an_epoch_report_the_mean_loss_of_their_own_steps(encoder, splits, tmp_path):
    seen = {}
    config = toys.config(encoder, epochs=2, rows=80, evaluations_per_epoch=2, patience=9)  # 5 steps an epoch, evaluated every 2
    train.run(config, splits, tmp_path, tmp_path, lambda total, at: seen.__setitem__)
    last = 0
    for entry in history(tmp_path):
        steps = range(last + 1, entry["step"] + 1)
        assert entry["loss"] == pytest.approx(sum(seen[step] for step in steps) / len(steps))
        last = entry["step"]
    assert last == 10


# --- rows


@pytest.mark.parametrize("split", ["train", "development"])
def test_a_head_without_labels_is_refused_before_anything_is_trained(encoder, tmp_path, split):
    folder = toys.write_splits(tmp_path / "splits")
    kept = [line for line in (folder / f"{split}.jsonl").read_text().splitlines() if json.loads(line)["topic"]]
    (folder / f"{split}.jsonl").write_text("\n".join(kept) + "\n")
    with pytest.raises(ConfigError, match=f"no {split} row has a sentiment label"):
        train.run(toys.config(encoder), folder, tmp_path / "run", tmp_path)
    assert not (tmp_path / "run").exists()


def test_few_development_rows_are_better_than_none(encoder, tmp_path):
    folder = toys.write_splits(tmp_path / "splits", development=train.LEAST_ROWS - 5)
    best = train.run(toys.config(encoder, epochs=1, rows=64), folder, tmp_path / "run", tmp_path)
    assert 0 <= best["score"] <= 1 and (tmp_path / "run/best/weights.pt").exists()


def test_a_source_of_few_development_rows_does_not_choose_beside_larger_ones(encoder, tmp_path):
    folder = toys.write_splits(tmp_path / "splits")
    few = [Row(f"few-{number}", "few", "development", f"Few words {number}", None, topic="Macro") for number in range(train.LEAST_ROWS - 1)]
    toys.write_lines(folder / "development.jsonl", [vars(row) for row in prepare.load(folder, "development") + few])
    best = train.run(toys.config(encoder, epochs=1, rows=64), folder, tmp_path / "run", tmp_path)
    assert {name for name in best if "/" in name} == {"topics/topic", "sentiments/sentiment"}


def test_a_summary_and_a_cashtag_are_sometimes_left_out(encoder):
    import random

    config = toys.config(encoder, body_dropout=0.5, cashtag_dropout=0.5)
    row = Row("a", "s", "train", "$ABC: Harbour bank closes its northern branch early", "Clients queue.")
    chance = random.Random(1)
    title = row.title.removeprefix("$ABC: ")
    assert {train._varied(row, config, chance) for _ in range(60)} == {row.text, row.title, f"{title}. Clients queue.", title}
    never = toys.config(encoder, body_dropout=0.0, cashtag_dropout=0.0)
    assert {train._varied(row, never, chance) for _ in range(20)} == {row.text}


def test_an_epoch_has_every_row_once_in_batches_of_like_length(encoder, splits):
    config = toys.config(encoder)
    rows = prepare.load(splits, "train")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(encoder))
    batches = train._batches(rows, tokenizer, config, epoch=0)
    assert sorted(place for chosen, _ in batches for place in chosen) == list(range(len(rows)))
    assert [chosen for chosen, _ in batches] != [chosen for chosen, _ in train._batches(rows, tokenizer, config, epoch=1)]
    padded = sum(max(map(len, encoded)) * len(encoded) for _, encoded in batches)
    assert sum(len(ids) for _, encoded in batches for ids in encoded) / padded > 0.95


def test_an_epoch_of_several_evaluations_trains_on_every_row_once(encoder, splits, tmp_path, monkeypatch):
    trained = []
    step = train._step

    def recorded(model, ids, mask, batch, *others):
        trained.extend(row.id for row in batch)
        return step(model, ids, mask, batch, *others)

    monkeypatch.setattr(train, "_step", recorded)
    train.run(toys.config(encoder, epochs=2, rows=80, evaluations_per_epoch=2, patience=9), splits, tmp_path, tmp_path)
    first, second = trained[:80], trained[80:]
    assert len(set(first)) == 80 and sorted(first) == sorted(second) and first != second


# --- techniques


@pytest.fixture(scope="module")
def few_steps(encoder, splits, tmp_path_factory):
    """Four steps with the settings given → the weights after them."""

    def train_few(**settings) -> dict[str, torch.Tensor]:
        run = tmp_path_factory.mktemp("few")
        train.run(toys.config(encoder, epochs=1, rows=64, **settings), splits, run, run)
        return weights(run)

    return train_few


@pytest.fixture(scope="module")
def plain(few_steps) -> dict[str, torch.Tensor]:
    return few_steps()


def test_the_same_seed_gives_the_same_weights(few_steps, plain):
    assert same(few_steps(), plain)


@pytest.mark.parametrize(
    "settings",
    [
        {"r_drop": 1.0}, {"adversarial": 1.0}, {"ema": 0.9}, {"focal_gamma": 2.0}, {"class_weight_power": 1.0}, {"layer_decay": 0.5}, {"label_smoothing": 0.2},
        {"freeze_embeddings": True}, {"topic_weight": 0.3}, {"weight_decay": 0.5}, {"dropout": 0.5}, {"head_rate": 1.0}, {"max_tokens": 8},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_every_technique_runs_and_changes_the_weights(few_steps, plain, settings):
    found = few_steps(**settings)
    assert not same(found, plain)
    assert all(bool(torch.isfinite(value).all()) for value in found.values())


def test_a_teacher_changes_the_weights_and_teaches_rows_without_labels(few_steps, plain, taught):
    distilled = few_steps(distill={"teachers": [str(taught)], "share": 0.5})
    assert not same(distilled, plain)
    assert not same(few_steps(distill={"teachers": [str(taught)], "share": 0.5}, pseudo_rows=32), distilled)


def test_a_teacher_alone_is_enough_to_learn_from(encoder, taught, tmp_path):
    folder = toys.write_splits(tmp_path / "splits")
    bare = [{**json.loads(line), "topic": None, "sentiment": None} for line in (folder / "train.jsonl").read_text().splitlines()]
    toys.write_lines(folder / "train.jsonl", bare)
    best = train.run(toys.config(encoder, epochs=3, distill={"teachers": [str(taught)]}), folder, tmp_path / "run", tmp_path)
    assert best["score"] > 0.9


def test_a_model_directory_teaches_as_the_run_that_it_was_made_from_does(built):
    rows = prepare.load(built.splits, "train")[:100]

    def answers(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
        plan = built.config.training.distill.model_copy(update={"teachers": [str(folder)]})
        config = built.config.model_copy(update={"training": built.config.training.model_copy(update={"distill": plan})})
        return train._taught(config, rows, "cpu")

    for directory, run in zip(answers(built.model), answers(built.run)):
        assert directory.sum(-1) == pytest.approx(torch.ones(len(rows)), abs=1e-5)
        assert (directory - run).abs().max() < 0.05


def test_a_model_directory_of_other_labels_cannot_teach(built):
    config = built.config.model_copy(update={"labels": built.config.labels.model_copy(update={"topic": ["Weather", *built.config.labels.topic[1:]]})})
    with pytest.raises(ConfigError, match="its labels of topic are not those of this configuration"):
        train._answers(config, built.model, ["Shares fall"])


def test_what_is_evaluated_is_the_average_and_what_is_trained_on_is_not(encoder, splits, taught):
    config, development = toys.config(encoder), prepare.load(splits, "development")
    average, (model, tokenizer) = weights(taught), load(config, taught / "best")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert train._evaluate(model, None, tokenizer, development, config, "cpu")["score"] < 0.6
    assert train._evaluate(model, average, tokenizer, development, config, "cpu")["score"] > 0.9
    assert same(model.state_dict(), before)


def test_frozen_embeddings_stay_as_they_were(few_steps, encoder):
    from transformers import AutoModel

    found = few_steps(freeze_embeddings=True)
    before = AutoModel.from_pretrained(str(encoder), add_pooling_layer=False).state_dict()
    words = "embeddings.word_embeddings.weight"
    assert torch.equal(found[f"encoder.{words}"], before[words])


def test_an_adversarial_step_leaves_the_word_embeddings_where_they_were(encoder):
    config = toys.config(encoder, adversarial=1.0)
    torch.manual_seed(1)
    model = build(config, str(encoder))
    words = model.encoder.embeddings.word_embeddings.weight
    before = words.detach().clone()
    rows = [Row("a", "s", "train", "t", None, topic="Macro")]
    train._step(model, torch.tensor([[2, 50, 60, 3]]), torch.ones(1, 4, dtype=torch.long), rows, None, (torch.ones(4), torch.ones(3)), config, "cpu")
    assert torch.equal(words, before)


def test_lower_layers_learn_more_slowly_and_heads_faster(encoder):
    config = toys.config(encoder, learning_rate=1e-3, layer_decay=0.5, head_rate=4, weight_decay=0.1)
    model = build(config, str(encoder))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    settings = {names[id(member)]: (group["lr"], group["weight_decay"]) for group in train._groups(model, config) for member in group["params"]}
    assert settings.keys() == set(names.values())
    assert settings["sentiment.weight"] == (4e-3, 0.1)
    assert settings["encoder.encoder.layer.1.output.dense.weight"] == (1e-3, 0.1)
    assert settings["encoder.encoder.layer.0.output.dense.weight"] == (5e-4, 0.1)
    assert settings["encoder.embeddings.word_embeddings.weight"] == (2.5e-4, 0.1)
    assert settings["encoder.encoder.layer.0.output.dense.bias"] == (5e-4, 0.0)


def test_only_the_layers_that_are_named_are_kept(encoder, splits, tmp_path):
    whole = toys.config(encoder, epochs=1, rows=32)
    config = whole.model_copy(update={"encoder": whole.encoder.model_copy(update={"layers": [1]})})
    train.run(config, splits, tmp_path, tmp_path)
    model, tokenizer = load(config, tmp_path / "best")
    assert len(model.encoder.encoder.layer) == 1
    assert logits(model, tokenizer, ["Oil prices jump"], toys.MAX_LENGTH)[0].shape == (1, 4)


# --- search


SEARCH = {"trials": 3, "rows": 48, "held_out_rows": 80, "epochs": 1, "values": {"learning_rate": [1e-3, 2e-3, 3e-3], "ema": [0.0, 0.5]}}


@pytest.fixture
def runs(monkeypatch) -> list[dict]:
    """The settings of every run that `search` starts."""
    started = []
    run = train.run

    def counted(config, *arguments):
        started.append(config.training)
        return run(config, *arguments)

    monkeypatch.setattr(train, "run", counted)
    return started


def test_a_search_tries_what_it_draws_and_skips_what_is_finished(encoder, splits, tmp_path, runs):
    config = toys.config(encoder, search=SEARCH)
    trials = train.search(config, splits, tmp_path, tmp_path)
    tried = [(settings.learning_rate, settings.ema) for settings in runs]
    assert len(set(tried)) == len(tried) == len(trials) > 1
    assert {(trial["drawn"]["learning_rate"], trial["drawn"]["ema"]) for trial in trials} == set(tried)
    assert all((settings.rows, settings.held_out_rows, settings.epochs) == (48, 80, 1) for settings in runs)
    scores = [trial["score"] for trial in trials]
    assert scores == sorted(scores, reverse=True)
    runs.clear()
    assert train.search(config, splits, tmp_path, tmp_path) == trials
    assert runs == []


def test_an_interrupted_search_goes_on_with_the_trial_that_was_not_finished(encoder, splits, tmp_path, runs):
    config = toys.config(encoder, search=SEARCH)
    bars = iter([lambda total, at: (lambda *_: None), interrupt_at(2)])
    with pytest.raises(Interrupted):
        train.search(config, splits, tmp_path, tmp_path, lambda total, at: next(bars)(total, at))
    first, second = runs
    runs.clear()
    train.search(config, splits, tmp_path, tmp_path)
    assert first not in runs and runs[0] == second


def test_a_search_for_a_setting_that_does_not_exist_is_refused(encoder, splits, tmp_path):
    config = toys.config(encoder, search={**SEARCH, "values": {"learning_rat": [1e-3]}})
    with pytest.raises(ConfigError, match="search.values.*\n*.*learning_rat"):
        train.search(config, splits, tmp_path, tmp_path)
