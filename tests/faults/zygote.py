"""Whole runs in processes of their own that start at once: they are forked from one that has imported everything.

As a script: reads a line of JSON for each run from its standard input, and writes the process id of the run, later its
exit code, to the standard output.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


class Zygote:
    """The process that runs are forked from."""

    def __init__(self):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "KEDRO_DISABLE_TELEMETRY": "1"}
        for name in ("MLFLOW_TRACKING_URI", "DISCREPANCY_TRACKING_URI"):
            environment.pop(name, None)
        root = Path(__file__).parents[2]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(root)]))
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._said = {}
        self._news = threading.Condition()
        self._started = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self._process.stdout:
            word, pid, *code = line.split()
            with self._news:
                if word == "started":
                    self._started.append(int(pid))
                else:
                    self._said[int(pid)] = int(code[0])
                self._news.notify_all()

    def run(self, project, log, *, benchmark=None, hold=None, gate=None, pipeline="dfc", **params):
        """Start a run; `hold`: the step after which it waits until `gate` exists."""
        given = {"project": str(project), "log": str(log), "pipeline": pipeline, "params": params}
        given |= {"hold": hold, "gate": str(gate), "benchmark": benchmark}
        self._process.stdin.write(json.dumps(given) + "\n")
        self._process.stdin.flush()
        with self._news:
            assert self._news.wait_for(lambda: self._started, timeout=120)
            return Run(self, self._started.pop(0), gate, log)

    def code(self, pid, timeout):
        with self._news:
            assert self._news.wait_for(lambda: pid in self._said, timeout=timeout), "the run does not end"
            return self._said[pid]

    def ended(self, pid):
        with self._news:
            return pid in self._said

    def close(self):
        self._process.stdin.close()
        self._process.wait(timeout=30)


class Run:
    """A run in a process of its own."""

    def __init__(self, zygote, pid, gate, log):
        self._zygote, self._pid, self._gate, self.log = zygote, pid, gate, Path(log)

    def until_held(self):
        """Wait until the run has come to the step after which it is to wait."""
        while not Path(f"{self._gate}.reached").exists():
            assert not self._zygote.ended(self._pid), self.log.read_text()
            time.sleep(0.02)
        return self

    def go_on(self):
        """Let it go on."""
        Path(self._gate).touch()
        return self

    def finish(self, timeout=300):
        """Wait for its end, which has to be a good one."""
        code = self._zygote.code(self._pid, timeout)
        assert code == 0, self.log.read_text()

    def kill(self, number, timeout=60):
        """Send a signal, and wait for the end: the exit code, or the signal as a negative number."""
        if not self._zygote.ended(self._pid):
            os.kill(self._pid, number)
        return self._zygote.code(self._pid, timeout)


def _main():
    import mlflow  # noqa: F401
    import torch

    import discrepancy.benchmark.command
    import discrepancy.datasets
    import discrepancy.methods
    import discrepancy.pipeline_registry
    import discrepancy.settings  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        given = json.loads(line)
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            _child(given)
        _say(f"started {pid}")
        threading.Thread(target=_reap, args=(pid,), daemon=True).start()


def _reap(pid):
    _, status = os.waitpid(pid, 0)
    _say(f"ended {pid} {os.waitstatus_to_exitcode(status)}")


def _say(line):
    os.write(1, f"{line}\n".encode())  # at once, as threads do it


def _child(given):
    """What the command would do, from after its imports to its end."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = os.open(given["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(0)
    code = 1
    try:
        code = _run(given)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        import atexit

        atexit._run_exitfuncs()  # forked: the interpreter's own end would be that of the zygote
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(given):
    from kedro.framework.hooks import hook_impl
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    os.chdir(given["project"])
    project = Path(given["project"])
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
    _main()
