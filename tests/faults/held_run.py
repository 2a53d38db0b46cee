"""Whole runs in processes of their own, which wait after a step for as long as they are told.

As a script: does the run that its argument describes, in JSON.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path


class Run:
    """A run in a process of its own.

    Args:
        zygote: from which its process is forked.
        project: the project's folder.
        log: the file of what it says.
        hold: the step after which it waits until the file `gate` exists.
        benchmark: options of a benchmark to run in place of a pipeline.
        pipeline: its name.
        params: parameters, at the top or in groups.
    """

    def __init__(self, zygote, project, log, *, hold=None, gate=None, benchmark=None, pipeline="dfc", **params):
        given = {"pipeline": pipeline, "params": params, "hold": hold, "gate": str(gate), "benchmark": benchmark}
        self._gate, self.log = gate, Path(log)
        addresses = ("MLFLOW_TRACKING_URI", "DISCREPANCY_TRACKING_URI")  # of sessions in this process
        with self.log.open("a") as file:
            self._process = zygote.popen(
                [sys.executable, "-m", "tests.faults.held_run", json.dumps(given)],
                cwd=project,
                env={name: value for name, value in os.environ.items() if name not in addresses},
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def until_held(self):
        """Wait until the run has come to the step after which it is to wait."""
        while not Path(f"{self._gate}.reached").exists():
            assert self._process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        return self

    def go_on(self):
        """Let it go on."""
        Path(self._gate).touch()
        return self

    def finish(self, timeout=300):
        """Wait for its end, which has to be a good one."""
        assert self._process.wait(timeout) == 0, self.log.read_text()

    def kill(self, number, timeout=60):
        """Send a signal, and wait for the end: the exit code, or the signal as a negative number."""
        self._process.send_signal(number)
        return self._process.wait(timeout)


def _main(given):
    from kedro.framework.hooks import hook_impl
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    project = Path.cwd()
    if given["benchmark"]:
        from discrepancy.benchmark.command import Options, run_benchmark

        return 0 if run_benchmark(project, Options(**given["benchmark"]), say=sys.stdout.write) else 1

    class Gate:
        @hook_impl
        def after_node_run(self, node):
            if node.name == given["hold"]:
                Path(f"{given['gate']}.reached").touch()
                while not Path(given["gate"]).exists():
                    time.sleep(0.02)

    bootstrap_project(project)
    with KedroSession.create(project_path=project, runtime_params=given["params"]) as session:
        session._hook_manager.register(Gate())
        session.run(pipeline_names=[given["pipeline"]])
    return 0


if __name__ == "__main__":
    sys.exit(_main(json.loads(sys.argv[1])))
