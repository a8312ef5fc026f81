"""Entry point of `mirror` and of `python -m mirror`."""

import gc
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line, and exit."""
    # Collecting garbage takes a tenth of a sync that finds nothing new while modules are imported,
    # and a quarter at its end. Nothing of what is imported is garbage.
    gc.set_threshold(100_000)
    try:
        from mirror.cli import main as run_command_line

        run_command_line()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
