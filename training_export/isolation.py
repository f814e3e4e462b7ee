"""Converts a foreign file in a child process with limits, so that a damaged one can at worst end that process.

The HDF5 library and the engines are large C programs, and files made to crash them are known. The child is this module
run as a program; it hands back JSON and arrays in a temporary folder, nothing that would have to be unpickled.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training_export.import_limits import CHILD_CPU_SECONDS, CHILD_MEMORY_BYTES, CHILD_WALL_SECONDS, MAX_FILE_BYTES
from training_export.network_refusal import NetworkRefusedError, Reason

if TYPE_CHECKING:
    from training_export.convert import Converted

NETWORK, HALF, GOLDEN, FACTS, REFUSAL = "model.onnx", "model.fp16.onnx", "golden.npz", "facts.json", "refusal.json"
# No plug-ins of the HDF5 library, and no more threads than the processor time of one.
ENVIRONMENT = {"HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def convert_isolated(path: Path) -> Converted:
    """Return what ``convert`` makes of a file, made in a child process.

    Raises
    ------
    NetworkRefusedError
        of the conversion, or because the child ended by a crash or at a limit
    """
    with tempfile.TemporaryDirectory(prefix="egfr-dls-import-") as folder:
        # -I: neither the working folder nor PYTHONPATH may slip modules in.
        command = [sys.executable, "-I", "-m", __name__, str(path.absolute()), folder]
        try:
            done = subprocess.run(
                command,
                env={**os.environ, **ENVIRONMENT},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=CHILD_WALL_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _limit(f"{CHILD_WALL_SECONDS:g} seconds") from error
        return _received(Path(folder), done.returncode, path.name)


def _received(folder: Path, code: int, name: str) -> Converted:
    from training_export.class_map import ClassMap  # these need the extra, whose absence the command explains
    from training_export.convert import Converted
    from training_export.golden import Golden

    refusal = folder / REFUSAL
    if refusal.exists():
        stated = json.loads(refusal.read_text(encoding="utf-8"))
        raise NetworkRefusedError(Reason(stated["reason"]), stated["message"])
    if code != 0:
        raise _crash(code, name)
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    with np.load(folder / GOLDEN, allow_pickle=False) as arrays:
        golden = Golden({key: arrays[key] for key in arrays.files}, facts["saturated"])
    bias, grid = facts["cam_bias"], facts["cam_grid"]
    channels, rows, columns = facts["input_shape"]
    return Converted(
        network=(folder / NETWORK).read_bytes(),
        input_names=tuple(facts["input_names"]),
        input_shape=(channels, rows, columns),
        n_classes=facts["n_classes"],
        class_map=None if bias is None else ClassMap(tuple(bias), (grid[0], grid[1])),
        golden=golden,
        source=facts["source"],
        half=(folder / HALF).read_bytes() if (folder / HALF).exists() else None,
        left_out=facts["left_out"],
    )


def _crash(code: int, name: str) -> NetworkRefusedError:
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return _limit(f"{CHILD_CPU_SECONDS} seconds of processor time, or the machine's memory")
    if code < 0:
        how = f"a library crashed on it ({signal.Signals(-code).name}); the file is damaged, or made to do that"
    else:
        how = f"the reading process ended with {code} and no word; the file is damaged, or egfr-dls is not installed whole"
    return NetworkRefusedError(Reason.FILE_UNREADABLE, f"{name}: {how}")


def _limit(what: str) -> NetworkRefusedError:
    return NetworkRefusedError(
        Reason.LIMIT_EXCEEDED, f"the import needs more than {what}; no network of this kind does"
    )


# --- the child --------------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> None:
    """Convert a file and leave the result, or the refusal, in a folder."""
    _set_limits()
    from training_export.convert import convert  # after the limits

    path, folder = Path(arguments[0]), Path(arguments[1])
    try:
        _hand_back(convert(path), folder)
    except NetworkRefusedError as error:
        _refuse(folder, error.reason, error.message)
    except MemoryError:
        _refuse(folder, Reason.LIMIT_EXCEEDED, f"{path.name} needs more than {CHILD_MEMORY_BYTES >> 30} GB of memory")
    except Exception as error:  # noqa: BLE001  # whatever a made file provokes is a refusal, not a fault of the service
        _refuse(
            folder, Reason.FILE_UNREADABLE, f"{path.name}: {type(error).__name__} while it was read: {str(error)[:400]}"
        )


def _set_limits() -> None:
    for limit, value in (
        (resource.RLIMIT_AS, CHILD_MEMORY_BYTES),
        (resource.RLIMIT_CPU, CHILD_CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 2 * MAX_FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _hand_back(converted: Converted, folder: Path) -> None:
    class_map = converted.class_map
    facts = {
        "input_names": converted.input_names,
        "input_shape": converted.input_shape,
        "n_classes": converted.n_classes,
        "cam_bias": None if class_map is None else class_map.bias,
        "cam_grid": None if class_map is None else class_map.grid,
        "saturated": converted.golden.saturated,
        "source": converted.source,
        "left_out": converted.left_out,
    }
    (folder / NETWORK).write_bytes(converted.network)
    if converted.half is not None:
        (folder / HALF).write_bytes(converted.half)
    np.savez(folder / GOLDEN, allow_pickle=False, **dict(converted.golden.arrays))
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _refuse(folder: Path, reason: Reason, message: str) -> None:
    (folder / REFUSAL).write_text(json.dumps({"reason": reason, "message": message}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
