"""A training of a line in which something goes wrong; processes that import this import little else."""

import os
import signal

from discrepancy.errors import InputError
from discrepancy.training.loop import Checkpoint, fit
from discrepancy.training.process_group import current_group
from tests.training.test_loop import CPU, Talking, line, settings


def learn_line(path, *, epochs=6, explode_at=None, at_epoch=None, fault=None):
    """A line, in ten steps of a second; in the second process something happens before the first batch of an epoch."""
    module, group = line(), current_group()
    problem = Talking(module, explode_at=explode_at)
    plain = problem.batch

    def batch(epoch, indices):
        if epoch == at_epoch and group and not group.is_main:
            fault()
        return plain(epoch, indices)

    problem.batch = batch
    wanted, checkpoint = settings(epochs=epochs), Checkpoint(path, "line")
    save = checkpoint.save

    def signed(state):
        path.with_suffix(f".by_{group.rank if group else 'one'}").touch()
        save(state)

    checkpoint.save = signed
    return module, fit(module, problem, wanted, device=CPU, checkpoint=checkpoint, progress=False)


def refuse():
    raise InputError("fault: 1 given; expected: none")


def break_down():
    return 1 / 0


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def with_fault(path, fault):
    learn_line(path, at_epoch=2, fault=fault)


def diverging(path):
    learn_line(path, explode_at=2)
