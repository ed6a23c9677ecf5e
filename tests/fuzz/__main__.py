"""`python -m tests.fuzz`: fuzz the parsers; exit code 1 if an input violates a guarantee."""

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from tests.fuzz.run import fuzz, is_available
from tests.fuzz.target import TARGETS

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    seconds: Annotated[float, typer.Option(help="Wall time of the run.")] = 60,
    target: Annotated[list[str] | None, typer.Option(help="Only this target; may be repeated.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes at a time; by default one for each CPU.")] = None,
    seed: Annotated[int | None, typer.Option(help="Start of the random numbers; random by default.")] = None,
    corpus: Annotated[Path, typer.Option(help="Inputs that reached new code; later runs start with them.")] = Path(
        ".fuzz"
    ),
) -> None:
    """Fuzz the parsers and print what was executed."""
    if not is_available():
        typer.echo("Atheris, the fuzzer, has no wheels for this machine; it runs on x86-64.", err=True)
        raise typer.Exit(2)
    results = fuzz(
        seconds,
        targets=target or TARGETS,
        workers=workers or os.cpu_count() or 1,
        seed=secrets.randbelow(2**31 - 1) + 1 if seed is None else seed,
        corpus=corpus,
    )
    for result in results:
        typer.echo(str(result))
    raise typer.Exit(int(any(result.findings for result in results)))


if __name__ == "__main__":
    app()
