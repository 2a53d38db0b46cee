"""`discrepancy serve`: a bundle behind HTTP."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from discrepancy.serving.options import KEY_VARIABLE, PORT_VARIABLE, Options

CONNECTIONS = 1000
"""Connections of a process, also those that send nothing."""
POSITIVE = click.FloatRange(0, min_open=True)


@click.command(
    short_help="Serve a bundle over HTTP.",
    epilog=f"A key that clients must send, as X-API-Key, is taken from the variable {KEY_VARIABLE}.",
)
@click.option("--bundle", required=True, type=click.Path(path_type=Path), help="Folder that an export has written.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; 0.0.0.0 is reached from elsewhere.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), envvar=PORT_VARIABLE, show_envvar=True
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option(
    "--waiting",
    default=64,
    show_default=True,
    type=click.IntRange(1),
    help="Requests that a process has at a time; further ones are answered with 503.",
)
@click.option(
    "--batch-size", default=8, show_default=True, type=click.IntRange(1), help="Photographs per pass, at most."
)
@click.option("--max-megabytes", default=20.0, show_default=True, type=POSITIVE, help="Of a request's body.")
@click.option("--max-megapixels", default=50.0, show_default=True, type=POSITIVE, help="Of a photograph.")
@click.option(
    "--seconds",
    default=10.0,
    show_default=True,
    type=POSITIVE,
    help="That a client may take to send a header, or a photograph.",
)
def serve(  # noqa: PLR0913 (one argument per option)
    *,
    bundle: Path,
    host: str,
    port: int,
    workers: int,
    waiting: int,
    batch_size: int,
    max_megabytes: float,
    max_megapixels: float,
    seconds: float,
) -> None:
    """Serve a bundle over HTTP: a page at /, photographs to POST /predict, /docs, /health and /metrics."""
    try:
        import uvicorn

        from discrepancy.export.detect import Bundle, InputError
        from discrepancy.serving import app as _  # noqa: F401
    except ImportError as error:
        raise click.ClickException(f"{error.name} is missing; expected `pip install -e '.[serve]'`") from error
    options = Options(
        str(bundle),
        workers=workers,
        waiting=waiting,
        batch_size=batch_size,
        max_bytes=int(1e6 * max_megabytes),
        max_pixels=int(1e6 * max_megapixels),
        seconds=seconds,
        key=os.environ.get(KEY_VARIABLE, ""),
    )
    try:
        Bundle(bundle, threads=1)
    except InputError as error:
        raise click.ClickException(str(error)) from error
    options.to_environment()
    with ExitStack() as stack:
        if workers > 1:  # before the metrics are imported by the workers
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = stack.enter_context(tempfile.TemporaryDirectory())
        uvicorn.run(
            "discrepancy.serving.app:create_app",
            factory=True,
            http="discrepancy.serving.connections:LimitedConnection",
            host=host,
            port=port,
            workers=workers,
            access_log=False,
            limit_concurrency=CONNECTIONS,
            server_header=False,
            timeout_graceful_shutdown=30,
        )
