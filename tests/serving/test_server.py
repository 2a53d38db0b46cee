"""The server as a process: without PyTorch, beside slow and many clients, and at its end."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest

ABSENT = ["torch", "torchvision", "timm", "kedro", "mlflow", "pandas", "scipy", "sklearn", "matplotlib", "cv2"]
PROGRAM = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT}))
from discrepancy.__main__ import main
main(sys.argv[1:])
"""


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


class Server:
    def __init__(self, bundle, *options, program=("-c", PROGRAM), python=sys.executable):
        self.port = free_port()
        command = [python, *program, "serve", "--bundle", str(bundle), "--port", str(self.port), *options]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        end = time.monotonic() + 30
        while True:
            try:
                assert self.get("/health")[0] == 200
                return
            except ConnectionError:
                assert self.process.poll() is None and time.monotonic() < end, self.process.communicate()[0]
                time.sleep(0.02)

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def get(self, path):
        return self._answer(self.connection(), "GET", path)

    def post(self, content):
        return self._answer(self.connection(), "POST", "/predict", body=content)

    def begun(self, content):
        """A request of which half the body is sent."""
        connection = self.connection()
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Length", str(len(content)))
        connection.endheaders()
        connection.send(content[: len(content) // 2])
        return connection

    @staticmethod
    def _answer(connection, method, path, **more):
        connection.request(method, path, **more)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers


@contextmanager
def serving(bundle, *options, **more):
    server = Server(bundle, *options, **more)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


@pytest.fixture
def content(photos):
    return (photos / "bad/scratched/11.png").read_bytes()


def in_progress(server, count):
    line = f"discrepancy_in_progress {count}.0".encode()
    end = time.monotonic() + 10
    while line not in server.get("/metrics")[1]:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_requests_under_way_are_answered_when_it_is_asked_to_stop(bundle_folder, content):
    with serving(bundle_folder) as server:
        assert server.post(content)[0] == 200
        waiting = server.begun(content)
        in_progress(server, 1)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(ConnectionError):
            server.post(content)
        waiting.send(content[len(content) // 2 :])
        answer = waiting.getresponse()
        assert answer.status == 200 and b'"anomalous"' in answer.read()
        assert server.process.wait(20) == -signal.SIGTERM or server.process.returncode == 0


def test_who_sends_no_whole_header_is_cut_off(bundle_folder, content):
    """A process has so many connections and no more: silent ones would shut everybody out."""
    with serving(bundle_folder, "--seconds", "0.5") as server:
        silent = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(3)]
        silent[1].send(b"POST /predict HTTP/1.1\r\nHost: x\r\n")
        silent[2].send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert silent[2].recv(10_000).startswith(b"HTTP/1.1 200")
        silent[2].send(b"GET /hea")
        busy = server.connection()
        for _ in range(8):  # for longer than a silent one may stay
            busy.request("POST", "/predict", body=content)
            assert busy.getresponse().read()
            time.sleep(0.25)
        for connection in silent:
            with suppress(ConnectionResetError):
                while connection.recv(10_000):
                    pass


def test_slow_clients_are_sent_away_and_others_are_told_to_come_back(bundle_folder, content):
    with serving(bundle_folder, "--waiting", "1", "--seconds", "1") as server:
        slow = server.begun(content)
        in_progress(server, 1)
        status, body, headers = server.post(content)
        assert status == 503 and headers["Retry-After"] == "1" and b"too many requests" in body
        assert slow.getresponse().status == 408
        assert server.post(content)[0] == 200
        gone = server.begun(content)
        gone.close()
        in_progress(server, 0)
        assert server.post(content)[0] == 200


def test_a_body_without_a_length_is_refused_before_its_end(bundle_folder):
    with serving(bundle_folder, "--max-megabytes", "0.05") as server:
        connection = server.connection()
        connection.putrequest("POST", "/predict")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        for _ in range(8):
            connection.send(b"2710\r\n" + bytes(10_000) + b"\r\n")
        answer = connection.getresponse()  # the body has no end
        assert answer.status == 413 and answer.headers["Connection"] == "close"


def test_several_workers_count_together(bundle_folder, content):
    with serving(bundle_folder, "--workers", "2", program=("-m", "discrepancy")) as server:
        for _ in range(12):
            assert server.post(content)[0] == 200
        assert b'discrepancy_requests_total{status="200"} 12.0' in server.get("/metrics")[1]
        assert b"discrepancy_in_progress 0.0" in server.get("/metrics")[1]
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(20)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    command = [sys.executable, "-c", PROGRAM, "serve", "--bundle", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr.startswith("Error: ") and "card.json: No such file or directory; expected" in found.stderr
