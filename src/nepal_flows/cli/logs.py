"""Where the log of a run goes."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Append the package's log to a file while the context is open; errors go there in full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("nepal_flows")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    except KeyboardInterrupt:
        logger.info("the run was stopped on request")
        raise
    except BaseException:
        logger.exception("the run ended with an error")
        raise
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()


__all__ = ["log_to_file"]
