"""A recorded step: what is recorded, what is not, and that the numbers are those of the plain step."""

import pytest
import torch
from torch import nn

from discrepancy.training import loop
from discrepancy.training.graph import PLAIN_STEPS, RecordedStep, StepResult, set_rate, use_rate_tensors
from discrepancy.training.loop import Checkpoint, fit
from discrepancy.training.settings import TrainingSettings
from tests.tiny import Killed, killed_after

CPU = torch.device("cpu")


class Replayer:
    """Records as a GPU does: recording runs nothing, and a replay reads what lies in the recorded batch then."""

    def __init__(self, error=None):
        self.calls = []
        self.error = error

    def run(self, call):
        self.calls.append("run")
        return call()

    def record(self, call):
        self.calls.append("record")
        if self.error:
            raise self.error

        def replay():
            self.calls.append("replay")
            return call()

        return replay


class Slope:
    """y = 3x, all examples on the device."""

    many_small_steps = True
    is_resident = True
    examples = 10

    def __init__(self, module):
        self.module = module
        self.x = torch.arange(10.0)[:, None] / 10

    def batch(self, epoch, indices):
        return {"x": self.x[torch.from_numpy(indices)]}

    def loss(self, batch):
        self.last = batch["x"].mean()
        return (self.module(batch["x"]) - 3 * batch["x"]).square().mean()

    def validation_loss(self):
        return None

    def release(self):
        self.is_resident = False

    def extra_metrics(self):
        return {"x": self.last}

    def after_epoch(self):
        return {}


@pytest.fixture
def recorders(monkeypatch):
    """Have all steps recorded by a recorder that needs no GPU; the list holds those that were made."""
    made = []
    build = loop.build_step

    def build_step(*arguments):
        made.append(Replayer())
        return RecordedStep(build(*arguments), made[-1])

    monkeypatch.setattr(loop, "build_step", build_step)
    return made


def trained(checkpoint=None, **changes):
    torch.manual_seed(0)
    module = nn.Linear(1, 1)
    settings = TrainingSettings(
        **{"epochs": 5, "batch_size": 4, "learning_rate": 0.05, "schedule": "one_cycle", **changes}
    )
    return module, fit(module, Slope(module), settings, device=CPU, checkpoint=checkpoint, progress=False)


def numbers(module, history):
    return [module.weight.item(), module.bias.item(), *((epoch.loss, epoch.noted["x"]) for epoch in history)]


def test_a_recorded_training_is_the_plain_one(recorders, monkeypatch):
    """Ten examples by fours: each epoch ends with a batch of two, which takes the plain step."""
    recorded = numbers(*trained())
    assert recorders[0].calls == ["run"] * PLAIN_STEPS + ["record"] + ["replay"] * (2 * 5 - PLAIN_STEPS)
    monkeypatch.undo()
    assert recorded == numbers(*trained())


def test_it_resumes_to_the_same_bits(recorders, tmp_path):
    with pytest.raises(Killed):
        trained(killed_after(Checkpoint(tmp_path / "c", "x"), 3))
    assert numbers(*trained(Checkpoint(tmp_path / "c", "x"))) == numbers(*trained())
    assert [recorder.calls.count("record") for recorder in recorders] == [1, 1, 1]


def test_without_memory_for_a_recording_steps_stay_plain(recorders, monkeypatch):
    build = loop.build_step

    def build_step(*arguments):
        step = build(*arguments)
        step.recorder.error = torch.OutOfMemoryError("CUDA out of memory")
        return step

    recorded = numbers(*trained())
    monkeypatch.setattr(loop, "build_step", build_step)
    assert numbers(*trained()) == recorded
    assert recorders[1].calls == ["run"] * PLAIN_STEPS + ["record"]


def test_other_errors_of_a_recording_are_not_hidden():
    step = RecordedStep(lambda batch: StepResult(batch["x"].sum(), {}), Replayer(RuntimeError("not permitted")))
    with pytest.raises(RuntimeError, match="not permitted"):
        for _ in range(PLAIN_STEPS + 1):
            step({"x": torch.ones(2)})


def test_a_recorded_step_reads_its_batch_from_one_place():
    seen = []
    step = RecordedStep(
        lambda batch: StepResult(seen.append(batch["x"].data_ptr()) or batch["x"].sum(), {}), Replayer()
    )
    losses = [float(step({"x": torch.full((2,), float(i))}).loss) for i in range(8)]
    assert losses == [2.0 * i for i in range(8)]
    assert len(set(seen[PLAIN_STEPS:])) == 1


@pytest.mark.parametrize(
    ("device", "resident", "small", "recorded"),
    [
        ("cuda", True, True, True),
        ("cuda", False, True, False),
        ("cuda", True, False, False),
        ("cpu", True, True, False),
    ],
)
def test_what_is_recorded(monkeypatch, device, resident, small, recorded):
    monkeypatch.setattr(loop, "CUDARecorder", lambda device: Replayer())
    module = nn.Linear(1, 1)
    task = Slope(module)
    task.is_resident, task.many_small_steps = resident, small
    settings = TrainingSettings(epochs=1, batch_size=4)
    optimiser = torch.optim.Adam(module.parameters())
    step = loop.build_step(task, optimiser, settings, torch.device(device), None)
    assert isinstance(step, RecordedStep) == recorded
    assert not isinstance(loop.build_step(task, optimiser, settings, torch.device(device), object()), RecordedStep)


def test_a_rate_that_is_a_tensor_stays_where_it_is():
    optimiser = torch.optim.Adam(nn.Linear(1, 1).parameters(), lr=0.1)
    set_rate(optimiser, 0.2)
    assert optimiser.param_groups[0]["lr"] == 0.2
    use_rate_tensors(optimiser, CPU)
    assert optimiser.param_groups[0]["lr"] == 0.2 and not optimiser.param_groups[0]["capturable"]
    place = optimiser.param_groups[0]["lr"] = torch.tensor(0.2)
    set_rate(optimiser, 0.5)
    assert optimiser.param_groups[0]["lr"] is place and place == 0.5
