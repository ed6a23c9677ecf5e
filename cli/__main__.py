"""Entry point of `dicomstore` and `python -m cli`."""

from common import collector

# isort: split

from cli.app import app

collector.enable()


def main() -> None:
    """Run the command line."""
    app(prog_name="dicomstore")


if __name__ == "__main__":
    main()
