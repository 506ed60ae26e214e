"""`python -m nepal_flows` is `nepal`."""

from nepal_flows.cli import main

if __name__ == "__main__":
    main()
