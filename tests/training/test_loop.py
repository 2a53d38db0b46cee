"""The training loop: what it learns, how it resumes, how it stops."""

import math
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch
from torch import nn

from discrepancy.errors import InputError
from discrepancy.training.checkpoint import QUICK, CheckpointPace
from discrepancy.training.loop import (
    Checkpoint,
    DivergedError,
    TrainingSettings,
    fit,
    learning_rate,
)

CPU = torch.device("cpu")


class Line:
    """y = 3x - 1 with noise drawn from (seed, epoch, index): a problem whose answer is known."""

    def __init__(self, module, *, examples=10, explode_at=None):
        self.module = module
        self.examples = examples
        self.explode_at = explode_at
        self.seen = []

    def batch(self, epoch, indices):
        self.seen.append((epoch, tuple(int(i) for i in indices)))
        x = torch.from_numpy(np.array([[i / self.examples] for i in indices], np.float32))
        noise = [np.random.default_rng([epoch, int(i)]).normal(0, 0.01) for i in indices]
        y = 3 * x - 1 + torch.tensor(noise, dtype=torch.float32)[:, None]
        if self.explode_at == epoch:
            y[0] = math.nan
        return {"x": x, "y": y}

    def loss(self, batch):
        return (self.module(batch["x"]) - batch["y"]).square().mean()

    def validation_loss(self):
        return float((self.module(torch.ones(1, 1)) - 2).square())


def line(seed=0):
    torch.manual_seed(seed)
    return nn.Linear(1, 1)


def settings(**changes):
    return TrainingSettings(**{"epochs": 6, "batch_size": 4, "learning_rate": 0.05, **changes})


class Talking(Line):
    """Notes the mean index of each batch, and after each epoch how many batches it has seen."""

    def loss(self, batch):
        self.index = batch["x"].mean() * self.examples
        return super().loss(batch)

    def extra_metrics(self):
        return {"index": self.index}

    def after_epoch(self):
        return {"batches": len(self.seen)}


def test_what_a_problem_notes_is_in_the_history_as_means_over_images(tmp_path):
    """Over images, not over batches: the last batch of ten images by fours is smaller."""
    module = line()
    history = fit(module, Talking(module), settings(epochs=2), device=CPU, checkpoint=Checkpoint(tmp_path / "c", "x"))
    assert [entry.noted["index"] for entry in history] == pytest.approx([4.5, 4.5])
    assert [entry.noted["batches"] for entry in history] == [3, 6]
    assert history[1].line()["batches"] == 6 and history[1].line()["epoch"] == 2 and "noted" not in history[1].line()
    taken_up = fit(line(), Talking(module), settings(epochs=2), device=CPU, checkpoint=Checkpoint(tmp_path / "c", "x"))
    assert taken_up == history


def test_another_optimiser_can_train():
    module = line()
    before = module.weight.item()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.0)
    fit(module, Line(module), settings(epochs=1), device=CPU, optimiser=optimiser)
    assert module.weight.item() != before  # by the settings' rate
    assert optimiser.param_groups[0]["lr"] == 0.05


def test_it_learns_and_tells_the_history():
    module = line()
    history = fit(module, Line(module), settings(epochs=150), device=CPU, progress=False)
    assert module.weight.item() == pytest.approx(3, abs=0.1) and module.bias.item() == pytest.approx(-1, abs=0.05)
    assert [entry.epoch for entry in history] == list(range(1, 151))
    assert history[-1].loss < history[0].loss / 100
    assert history[-1].validation_loss < 0.01
    assert not module.training


@pytest.mark.parametrize("epochs", [1, 2, 50, 51, 120, 201])
def test_a_long_training_is_validated_at_equal_distances_first_and_last_epoch_included(epochs):
    module = line()
    history = fit(module, Line(module), settings(epochs=epochs), device=CPU, progress=False)
    validated = [entry.epoch for entry in history if entry.validation_loss is not None]
    assert validated[0] == 1 and validated[-1] == epochs
    assert len(validated) == epochs if epochs <= 50 else 25 <= len(validated) <= 51
    assert len(set(np.diff(validated[:-1]))) <= 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_validation_computes_in_the_precision_of_the_training(precision):
    class Noting(Line):
        def validation_loss(self):
            return float(self.module(torch.ones(1, 1)).dtype == torch.bfloat16)

    module = line()
    history = fit(module, Noting(module), settings(epochs=1, precision=precision), device=CPU, progress=False)
    assert history[0].validation_loss == (precision == "bf16")


def test_one_epoch_equals_adam_written_out():
    module, twin = line(), line()
    problem = Line(module)
    history = fit(module, problem, settings(epochs=1), device=CPU, progress=False)
    order = np.random.default_rng([0, 0]).permutation(10)
    optimiser = torch.optim.Adam(twin.parameters(), lr=0.05)
    total = 0.0
    other = Line(twin)
    for part in (order[:4], order[4:8], order[8:]):
        optimiser.zero_grad()
        loss = other.loss(other.batch(0, part))
        loss.backward()
        optimiser.step()
        total += loss.item() * len(part)
    assert torch.equal(module.weight, twin.weight) and torch.equal(module.bias, twin.bias)
    assert history[0].loss == pytest.approx(total / 10)


def test_every_image_once_per_epoch_in_another_order():
    module = line()
    problem = Line(module)
    fit(module, problem, settings(epochs=3), device=CPU, progress=False)
    orders = [[i for e, part in sorted(problem.seen) if e == epoch for i in part] for epoch in range(3)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_one_cycle_rises_falls_and_peaks_at_the_rate():
    cycle = settings(schedule="one_cycle", learning_rate=1.0)
    rates = [learning_rate(step, 200, cycle) for step in range(200)]
    peak = int(np.argmax(rates))
    assert rates[0] == pytest.approx(1 / 25) and rates[peak] == pytest.approx(1.0) and rates[-1] < 1e-3
    assert (np.diff(rates[: peak + 1]) > 0).all() and (np.diff(rates[peak:]) < 0).all()
    assert {learning_rate(step, 200, settings()) for step in range(200)} == {0.05}


def _train_and_die(path, epochs, die_after):
    module = line()
    checkpoint = Checkpoint(path, "same")
    save = checkpoint.save

    def save_then_die(state):
        save(state)
        if len(state["history"]) == die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.save = save_then_die
    fit(module, Line(module), settings(epochs=epochs), device=CPU, checkpoint=checkpoint, progress=False)


def test_killed_and_started_again_ends_with_the_same_bits(tmp_path):
    whole = line()
    expected = fit(whole, Line(whole), settings(), device=CPU, progress=False)
    process = multiprocessing.get_context("spawn").Process(target=_train_and_die, args=(tmp_path / "c.pt", 6, 3))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    module = line(seed=9)  # another start: everything must come from the checkpoint
    problem = Line(module)
    history = fit(
        module, problem, settings(), device=CPU, checkpoint=Checkpoint(tmp_path / "c.pt", "same"), progress=False
    )
    assert min(epoch for epoch, _ in problem.seen) == 3
    assert torch.equal(module.weight, whole.weight) and torch.equal(module.bias, whole.bias)
    assert [entry.loss for entry in history] == [entry.loss for entry in expected]


@pytest.mark.parametrize("damage", ["other run", "truncated", "rubbish"])
def test_a_checkpoint_that_does_not_fit_is_not_taken_up(tmp_path, damage):
    path = tmp_path / "c.pt"
    first = line()
    fit(first, Line(first), settings(epochs=2), device=CPU, checkpoint=Checkpoint(path, "this"), progress=False)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-50])
    elif damage == "rubbish":
        path.write_bytes(b"rubbish")
    module = line()
    problem = Line(module)
    checkpoint = Checkpoint(path, "other" if damage == "other run" else "this")
    fit(module, problem, settings(epochs=2), device=CPU, checkpoint=checkpoint, progress=False)
    assert {epoch for epoch, _ in problem.seen} == {0, 1}


def test_a_finished_checkpoint_needs_no_step(tmp_path):
    module = line()
    checkpoint = Checkpoint(tmp_path / "c.pt", "this")
    fit(module, Line(module), settings(epochs=2), device=CPU, checkpoint=checkpoint, progress=False)
    again = line(seed=4)
    problem = Line(again)
    history = fit(again, problem, settings(epochs=2), device=CPU, checkpoint=checkpoint, progress=False)
    assert problem.seen == [] and len(history) == 2 and torch.equal(again.weight, module.weight)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path):
    module = line()
    checkpoint = Checkpoint(tmp_path / "c.pt", "this")
    with pytest.raises(DivergedError, match=r"epoch 4.*after epoch 3 is kept.*learning_rate"):
        fit(module, Line(module, explode_at=3), settings(), device=CPU, checkpoint=checkpoint, progress=False)
    state = checkpoint.load()
    assert len(state["history"]) == 3
    assert all(torch.isfinite(tensor).all() for tensor in state["module"].values())


@pytest.mark.parametrize(
    ("every", "said"), [(2, r"epoch 4; the state after epoch 2 is kept"), (5, r"epoch 4\. A smaller")]
)
def test_the_message_names_the_epoch_that_was_kept_last(tmp_path, every, said):
    module, checkpoint = line(), Checkpoint(tmp_path / "c.pt", "this")
    problem = Line(module, explode_at=3)
    with pytest.raises(DivergedError, match=said):
        fit(module, problem, settings(checkpoint_every=every), device=CPU, checkpoint=checkpoint, progress=False)


def test_weights_that_are_not_finite_are_never_kept(tmp_path):
    """The root of 0 is finite, its slope is not: only the weights show what the last step did."""
    module = line()
    problem = Line(module)
    plain, steps = problem.loss, []

    def loss(batch):
        steps.append(1)
        return plain(batch) if len(steps) < 9 else (module(batch["x"]) * 0).sqrt().sum()

    problem.loss = loss
    checkpoint = Checkpoint(tmp_path / "c.pt", "this")
    with pytest.raises(DivergedError, match=r"weights were no longer finite in epoch 3.*after epoch 2 is kept"):
        fit(module, problem, settings(), device=CPU, checkpoint=checkpoint, progress=False)
    state = checkpoint.load()
    assert len(state["history"]) == 2
    assert all(torch.isfinite(tensor).all() for tensor in state["module"].values())


def test_an_interrupted_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "c.pt", "this")
    checkpoint.save({"history": [1]})

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError, match="disk full"):
        checkpoint.save({"history": [1, 2]})
    assert checkpoint.load()["history"] == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


def test_mixed_precision_computes_in_bfloat16():
    module = line()
    problem = Line(module)
    kinds = []
    plain = problem.loss
    problem.loss = lambda batch: kinds.append(module(batch["x"]).dtype) or plain(batch)
    fit(module, problem, settings(epochs=1, precision="bf16"), device=CPU, progress=False)
    assert set(kinds) == {torch.bfloat16} and module.weight.dtype == torch.float32


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_steps_and_validation_are_computed_in_the_precision(precision):
    module, seen = line(), []
    module.register_forward_pre_hook(
        lambda *_: seen.append((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
    )
    fit(module, Line(module), settings(epochs=1, precision=precision), device=CPU, progress=False)
    assert len(seen) == 4 and set(seen) == {(precision != "fp32",) * 2}


def test_on_a_cpu_tf32_trains_to_the_bits_of_fp32():
    one, other = line(), line()
    fit(one, Line(one), settings(precision="fp32"), device=CPU, progress=False)
    fit(other, Line(other), settings(precision="tf32"), device=CPU, progress=False)
    assert torch.equal(one.weight, other.weight) and torch.equal(one.bias, other.bias)


@pytest.mark.parametrize("asked", [True, False])
def test_steps_and_validation_are_reproducible_where_that_is_asked_for(asked):
    module, seen = line(), []
    module.register_forward_pre_hook(lambda *_: seen.append(torch.are_deterministic_algorithms_enabled()))
    fit(module, Line(module), settings(epochs=1, deterministic=asked), device=CPU, progress=False)
    assert len(seen) == 4 and set(seen) == {asked}
    assert not torch.are_deterministic_algorithms_enabled()


class Clock:
    """Time that passes only where it is told to."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.mark.parametrize(("writing", "epochs_apart"), [(0.1, 1), (1.0, 10), (4.0, 38)])
def test_checkpoints_take_a_twentieth_of_the_time_at_most(writing, epochs_apart, monkeypatch):
    clock, pace, written = Clock(), CheckpointPace(), []
    monkeypatch.setattr("discrepancy.training.checkpoint.time", clock)
    for epoch in range(100):
        clock.now += 2.0
        if pace.due():
            with pace.written():
                clock.now += writing
            written.append(epoch)
    apart = np.diff(written)
    assert written[0] == 0 and set(apart) == {epochs_apart}
    assert writing <= QUICK or writing / (2.0 * epochs_apart + writing) <= 0.05


def test_a_slow_checkpoint_waits_but_the_last_one_is_written(tmp_path, monkeypatch):
    saved = []

    class Slow(Checkpoint):
        def save(self, state):
            saved.append(len(state["history"]))

    monkeypatch.setattr("discrepancy.training.checkpoint.QUICK", 0.0)
    monkeypatch.setattr("discrepancy.training.checkpoint.SHARE", 1e-9)
    module = line()
    fit(module, Line(module), settings(epochs=5), device=CPU, checkpoint=Slow(tmp_path / "c", "f"), progress=False)
    assert saved == [1, 5]


def test_a_disk_that_was_slow_once_does_not_stop_checkpoints(monkeypatch):
    clock, pace = Clock(), CheckpointPace()
    monkeypatch.setattr("discrepancy.training.checkpoint.time", clock)
    with pace.written():
        clock.now += 300
    clock.now += 599
    assert not pace.due()
    clock.now += 2
    assert pace.due()
