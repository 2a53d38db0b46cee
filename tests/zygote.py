"""Python processes without the seconds of imports: forked from one process that has imported everything.

`Zygote.popen` is `subprocess.Popen` for commands of Python's, such as `[sys.executable, "-m", "kedro", "run"]`. What it
starts is a child of the process that asks, with a working folder, environment and streams of its own, and ends as any
process does.
"""

import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parents[1]
IMPORTED = (
    "kedro.framework.session",
    "kedro.runner",
    "kedro_mlflow.framework.cli.cli",
    "kedro_mlflow.framework.hooks.mlflow_hook",
    "kedro_telemetry.plugin",
    "kedro_viz.integrations.kedro.hooks",
    "kedro_viz.integrations.kedro.run_hooks",
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_store",
    "pygments.lexers.python",
    "timm",
    "discrepancy.benchmark.command",
    "discrepancy.benchmark.trial",
    "discrepancy.cli",
    "discrepancy.datasets",
    "discrepancy.pipeline_registry",
    "discrepancy.settings",
)
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, Linux


class Zygote:
    """The process that others are forked from.

    Args:
        environment: variables besides this process's; `PYTHONPATH` is only this process's to give.
    """

    def __init__(self, **environment):
        self._channel, theirs = _channel()
        path = [environment.pop("PYTHONPATH", ""), os.environ.get("PYTHONPATH", ""), str(ROOT)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment, "PYTHONPATH": os.pathsep.join(path)}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
                cwd=ROOT,
            )
        self._busy = threading.Lock()

    def popen(self, command, **options):
        """Start a command; options and result are those of `subprocess.Popen`."""
        return _Forked(self.fork, command, **options)

    @property
    def subprocess(self):
        """What `discrepancy.benchmark.launch` needs of the module of this name."""
        return SimpleNamespace(Popen=self.popen, PIPE=subprocess.PIPE, STDOUT=subprocess.STDOUT)

    def fork(self, told, streams):
        """Start a command with these three streams; its process id."""
        with self._busy:
            socket.send_fds(self._channel, [json.dumps(told, default=str).encode()], streams)
            return int(self._channel.recv(20))

    def close(self):
        """End it; what was forked from it goes on."""
        self._channel.close()
        self._process.wait(timeout=30)


class _Forked(subprocess.Popen):
    """A process whose beginning alone is another one: the waiting, reading and killing are those of its base."""

    def __init__(self, fork, command, **options):
        self._fork = fork
        super().__init__(command, **options)

    def _execute_child(self, command, *given):
        folder, environment, session = given[4], given[5], given[20]
        streams = [own if stream == -1 else stream for own, stream in enumerate((given[9], given[12], given[14]))]
        environment = dict(os.environ if environment is None else environment)
        told = {"command": command, "folder": folder or os.getcwd(), "environment": environment, "session": session}
        self.pid = self._fork(told, streams)
        self._child_created = True
        self._close_pipe_fds(*given[9:15])


def _channel():
    """Both ends of a channel for messages. Orphans of what is forked at its other end are children of this process."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _serve(channel):
    """Fork a process for each command that comes, which runs it; this one ends with the one that asks."""
    while True:
        told, streams, *_ = socket.recv_fds(channel, 1 << 20, 3)
        if not told:
            os._exit(0)
        if not (between := os.fork()):
            between = os.getpid()
            if os.fork():
                os._exit(0)
            while os.getppid() == between:  # until it is a child of the process that asks
                time.sleep(0.0005)
            with channel:
                channel.send(str(os.getpid()).encode())
            _run(json.loads(told), streams)
            sys.exit()
        os.waitpid(between, 0)
        for stream in streams:
            os.close(stream)


def _run(told, streams):
    """Do what `python -m ...` and `python -c ...` do."""
    from kedro.framework.project import LOGGING

    for own, stream in enumerate(streams):
        os.dup2(stream, own)
        os.close(stream)
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if told["session"]:
        os.setsid()
    LOGGING.__init__()  # reads logging.yml of the folder in which Kedro is imported
    _, option, what, *arguments = told["command"]
    if {"benchmark", "worker"} & {*arguments}:
        _fork_trials()
    sys.path[0] = os.getcwd()
    sys.argv = [option, *arguments]
    if option == "-c":
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    else:
        warnings.filterwarnings("ignore", ".*found in sys.modules after import", RuntimeWarning)
        runpy.run_module(what, run_name="__main__", alter_sys=True)


def _fork_trials():
    """Have the trials that this process will start forked from it as it is now, before it has done anything."""
    from discrepancy.benchmark import launch

    zygote = Zygote.__new__(Zygote)
    zygote._busy = threading.Lock()
    zygote._channel, theirs = _channel()
    if not os.fork():
        zygote._channel.close()
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(silent, stream)
        _serve(theirs)
    theirs.close()
    launch.subprocess = zygote.subprocess


def _import_everything():
    """Import what runs and trials import, in the order of the command: MLflow's settings come after Kedro's."""
    import_module("kedro.framework.cli")
    import_module("discrepancy.console").quiet()
    for name in IMPORTED:
        import_module(name)
    methods = import_module("discrepancy.methods.registry").METHODS
    for name in methods:
        assert methods[name]
    import_module("torch").set_num_threads(1)
    _parse_configuration()


def _parse_configuration():
    """Read the project's files: what is forked finds them parsed, if its own project has the same."""
    quick = import_module("tests.quick_configuration")
    quick.parse_once()
    quick.wire_once()
    settings = import_module("discrepancy.settings")
    for environment in ("local", "paper"):
        loader = settings.CONFIG_LOADER_CLASS(str(ROOT / "conf"), environment, **settings.CONFIG_LOADER_ARGS)
        for kind in ("parameters", "catalog"):
            assert loader[kind]


if __name__ == "__main__":
    _import_everything()
    gc.freeze()  # the collector of what is forked leaves alone what is shared: ends take 1 s less
    _serve(socket.socket(fileno=int(sys.argv[1])))
