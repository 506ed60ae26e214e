"""The command line: ``nepal``. Heavy modules are imported inside commands, to keep it quick."""


def main() -> None:
    """Run the command line and exit with a documented code."""
    import sys

    from nepal_flows.cli.app import run_app

    sys.exit(run_app(sys.argv[1:]))


__all__ = ["main"]
