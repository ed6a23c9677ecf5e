"""`python -m tests.torture`: inject faults into an archive for some minutes; exit code 1 if it broke a guarantee."""

import secrets
from typing import Annotated

import typer

from tests.torture.ledger import Violation
from tests.torture.run import torture

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    minutes: Annotated[float, typer.Option(help="Time of the run, after each kind of event was there once.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Repeats a run's events; random by default.")] = None,
    database: Annotated[str, typer.Option(help="sqlite, postgres, or both, one after the other.")] = "both",
    runs: Annotated[int, typer.Option(help="Runs on each database, with seeds that follow each other.")] = 1,
) -> None:
    """Inject faults into an archive and print a summary."""
    first = secrets.randbelow(1_000_000) if seed is None else seed
    for number in range(first, first + runs):
        for kind in ("sqlite", "postgres") if database == "both" else (database,):
            typer.echo(f"{kind}, seed {number}")
            try:
                typer.echo(str(torture(kind, number, minutes * 60)))
            except Violation as violation:
                typer.echo(f"VIOLATED: {violation}", err=True)
                raise typer.Exit(1) from None


if __name__ == "__main__":
    app()
