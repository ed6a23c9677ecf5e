"""Entry point of `dicomstore` and `python -m cli`."""

from cli.app import app


def main() -> None:
    """Run the command line."""
    app(prog_name="dicomstore")


if __name__ == "__main__":
    main()
