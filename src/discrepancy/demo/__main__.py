"""`python -m discrepancy.demo photos/dim --category=cable --light=dim`: synthetic photographs under another light."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from discrepancy.demo import CATEGORIES, LIGHTS, render_photographs
from discrepancy.demo.dataset import LEAST
from discrepancy.errors import InputError


@click.command(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--category", required=True, type=click.Choice(CATEGORIES), help="Part to photograph.")
@click.option("--light", default="usual", type=click.Choice(list(LIGHTS)), help="Lamp and camera.")
@click.option("--count", default=60, type=click.IntRange(LEAST["count"]), help="Number of good photographs.")
@click.option("--defective", is_flag=True, help="Render as many of defective parts too, in turn of every kind.")
@click.option(
    "--seed", default=0, type=click.IntRange(LEAST["seed"]), help="Draws the parts: another seed, other parts."
)
@click.option("--size", default=256, type=click.IntRange(LEAST["size"]), help="Height and width, px.")
def main(folder: Path, category: str, light: str, **options: Any) -> None:
    """Render synthetic photographs of a demo part under a light, to recalibrate a trained detector with.

    They go to FOLDER/good and FOLDER/defective. FOLDER must not exist, or be empty. Whatever the seed, the parts are
    others than those that `kedro run` trains on and tests with. The same seed shows the same parts under every light.

    \b
    Lights:
      usual  that of the images that `kedro run` renders
      dim    an old lamp: darker, above all to the right, and warmer; more noise

    \b
    Example:
      python -m discrepancy.demo photos/dim --category=cable --light=dim --count=60 --defective
    """
    try:
        render_photographs(folder, category, light=LIGHTS[light], **options)
    except InputError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        reason = f"{error.filename or folder}: {error.strerror or error}"
        raise click.ClickException(f"{reason}; expected a place that can be written, with room for it.") from error
    kinds = f"{options['count']} of good" + (f" and {options['count']} of defective" if options["defective"] else "")
    click.echo(f"{folder}: synthetic photographs, {kinds} parts ({category}), light: {light}")


if __name__ == "__main__":
    main(prog_name="python -m discrepancy.demo")
