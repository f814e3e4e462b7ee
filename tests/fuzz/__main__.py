"""Coverage-guided fuzzing of one target, with atheris (libFuzzer for Python).

    python -m tests.fuzz TARGET [libFuzzer's options, folders of inputs]

TARGET is ``pdu``, ``data_set``, ``commitment`` or ``spool``. atheris is no dependency of ours: it is installed in an environment
of its own (``docs/reliability.md``). New inputs go to the first folder that is named; ours are read from ``corpus/TARGET``.
"""

from __future__ import annotations

import importlib
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    """Fuzz until libFuzzer's limits are reached or an input fails."""
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["listener", "egfr_dls.spool"]):
        target = importlib.import_module(f"tests.fuzz.fuzz_{name}")
    change = getattr(target, "mutate", None)
    own = tempfile.mkdtemp() if not any(Path(option).is_dir() for option in options) else ""
    for number, seed in enumerate(target.seeds()):
        folder = next((Path(option) for option in options if Path(option).is_dir()), Path(own))
        (folder / f"seed-{number}").write_bytes(seed)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        """Change whole PDUs half of the time, bytes else."""
        if change is None or seed % 2:
            return bytes(atheris.Mutate(data, max_size))
        return bytes(change(data, seed)[:max_size])

    more: dict[str, Any] = {"custom_mutator": mutate} if change else {}
    atheris.Setup([sys.argv[0], *options, *([own] if own else []), str(CORPUS / name)], target.check, **more)
    random.seed(0)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
