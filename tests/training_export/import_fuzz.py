"""Changes network files at random and imports them: ``python -m tests.training_export.import_fuzz SEED FIRST LAST``.

Three kinds by turns: bytes of an HDF5 file, bytes of an ONNX file, values in the JSON of an architecture whose HDF5 is sound.
Prints the number of each trial before it begins, so that after a crash of a library the next one can follow. An import may
succeed or be refused; whatever else it raises ends the program with a trace.
"""

from __future__ import annotations

import copy
import json
import random
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.training_export.keras_files import Network, write_file
from tests.training_export.onnx_files import model, write
from training_export import isolation
from training_export.convert import convert
from training_export.network_refusal import NetworkRefusedError

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 1 << 31, 1 << 63, 10**40, -(10**40), 0.5, 1e308, float("nan"), float("inf"), "", "a",
    "../../etc/passwd", "/", "\0", "channels_first", "softmax", "Lambda", [], [[]], {}, [None], [1, 2, 3], ["x", 0, 0], {"a": 1},
)  # fmt: skip
SECONDS = 20  # of one trial
WORDS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)


def network() -> Network:
    """Return a small network of many kinds of layers."""
    made = Network()
    x = made.add("Conv2D", made.input(8, 8, 3), filters=4, kernel_size=[3, 3], padding="same", strides=[1, 1])
    y = made.add("BatchNormalization", made.add("SeparableConv2D", x, filters=4, kernel_size=[3, 3], padding="same"))
    x = made.add("Add", x, made.add("LeakyReLU", y, alpha=0.1))
    x = made.add(
        "Concatenate", made.add("MaxPooling2D", x, pool_size=[2, 2]), made.add("AveragePooling2D", x, pool_size=[2, 2])
    )
    x = made.add("Reshape", made.add("ZeroPadding2D", x, padding=[[1, 0], [0, 1]]), target_shape=[5, 5, 8])
    made.head(made.add("Activation", x, activation="relu"))
    return made


def changed_bytes(data: bytes, chosen: random.Random) -> bytes:
    """Return the bytes with one to eight changes: bits, words, pieces."""
    changed = bytearray(data)
    for _ in range(chosen.randint(1, 8)):
        # Most of a file is weights; what describes them lies at its beginning and end.
        at = chosen.choice((chosen.randrange(len(changed)), chosen.randrange(min(2048, len(changed)))))
        match chosen.randrange(5):
            case 0:
                changed[at] ^= 1 << chosen.randrange(8)
            case 1:
                changed[at : at + 8] = chosen.choice(WORDS).to_bytes(8, "little")
            case 2:
                changed[at : at + 4] = (chosen.choice(WORDS) & 0xFFFFFFFF).to_bytes(4, "little")
            case 3:
                source = chosen.randrange(len(changed))
                changed[at : at + 64] = changed[source : source + 64]
            case _:
                del changed[at : at + chosen.choice((1, 8, 64, len(changed) // 2))]
        changed = changed or bytearray(b"\0")
    return bytes(changed)


def changed_values(config: Any, chosen: random.Random) -> Any:
    """Return a JSON document with one to four values replaced, taken out or copied from elsewhere in it."""
    document = copy.deepcopy(config)
    for _ in range(chosen.randint(1, 4)):
        places = list(_places(document))
        holder, key = chosen.choice(places)
        match chosen.randrange(4):
            case 0:
                del holder[key]
            case 1:
                other, name = chosen.choice(places)
                holder[key] = copy.deepcopy(other[name])
            case _:
                holder[key] = chosen.choice(ODD)
    return document


def _places(node: Any) -> Any:
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


def trial(number: int, seed: int, folder: Path) -> None:
    """Make one file and import it."""
    chosen = random.Random(f"{seed} {number}")
    path = folder / f"{number}.bin"
    if number % 3 == 0:
        made = network()
        config = changed_values(made.config(), chosen)
        write_file(path, config, made.groups(), model_config=json.dumps(config))
    else:
        path.write_bytes(changed_bytes((folder / ("seed.h5", "seed.onnx")[number % 3 - 1]).read_bytes(), chosen))
    try:
        convert(path)
        outcome = "imported"
    except NetworkRefusedError as error:
        outcome = error.reason
    except MemoryError:
        outcome = "LIMIT_EXCEEDED"
    sys.stdout.write(f"{number} {outcome}\n")
    path.unlink()


def main() -> None:
    """Run the trials FIRST to LAST."""
    seed, first, last = map(int, sys.argv[1:4])
    isolation._set_limits()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network().write(folder / "seed.h5")
        write(folder / "seed.onnx", model())
        for number in range(first, last):
            sys.stdout.write(f"{number} begins\n")
            sys.stdout.flush()
            signal.alarm(SECONDS)  # ends the program, as the limit of processor time ends the importer's child
            trial(number, seed, folder)


if __name__ == "__main__":
    main()
