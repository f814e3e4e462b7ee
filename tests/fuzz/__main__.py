"""Coverage-guided fuzzing of one target, with atheris (libFuzzer for Python).

    python -m tests.fuzz TARGET [libFuzzer's options, folders of inputs]

TARGET is ``pdu``, ``data_set``, ``commitment``, ``spool``, ``own`` or ``index``. atheris is no dependency of ours: it is
installed in an environment of its own (``docs/reliability.md``, Fuzzing). New inputs go to the first folder that is named;
those that are kept are read from ``corpus/TARGET``.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus"
OURS = ("listener", "egfr_dls.spool")
INSTRUMENTED = {
    "own": (*OURS, "pydicom"),  # what is fuzzed there is how pydicom fails
    "index": (*OURS, "egfr_dls.ledger"),
}


def main() -> None:
    """Fuzz until libFuzzer's limits are reached or an input fails."""
    import atheris

    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=list(INSTRUMENTED.get(name, OURS))):
        target = importlib.import_module(f"tests.fuzz.fuzz_{name}")
    folders = [option for option in options if Path(option).is_dir()] or [tempfile.mkdtemp()]
    for number, seed in enumerate(target.seeds()):
        (Path(folders[0]) / f"seed-{number}").write_bytes(seed)
    kept = [str(folder) for folder in (CORPUS / name,) if folder.is_dir()]
    change = getattr(target, "mutate", None)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        """Change whole PDUs half of the time, bytes else."""
        if seed % 2:
            return bytes(atheris.Mutate(data, max_size))
        return bytes(change(data, seed)[:max_size])

    more: dict[str, Any] = {"custom_mutator": mutate} if change else {}
    flags = [option for option in options if option not in folders]
    atheris.Setup([sys.argv[0], *flags, *folders, *kept], target.check, **more)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
