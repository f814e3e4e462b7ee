"""HDF5 files that are damaged, lead outside themselves or declare more than they hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.training_export.keras_files import Network, write_file
from training_export import import_limits
from training_export.keras_import import container
from training_export.keras_import.container import KerasFile, read_keras_file
from training_export.network_refusal import NetworkRefusedError, Reason

KERNEL = "conv2d_1/conv2d_1/kernel:0"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sound file."""
    network = Network()
    network.head(network.add("Conv2D", network.input(8, 8, 3), filters=4, kernel_size=[3, 3]))
    return network.write(tmp_path / "net.h5")


def refusal(path: Path) -> NetworkRefusedError:
    """Read a file that must be refused."""
    with pytest.raises(NetworkRefusedError) as caught:
        read_keras_file(path)
    return caught.value


def test_reads_architecture_and_weights(path: Path) -> None:
    """And nothing of the optimiser."""
    with h5py.File(path, "a") as file:
        file.create_group("optimizer_weights")["moment"] = h5py.ExternalLink("/etc/passwd", "/")
    found = read_keras_file(path)
    assert found.config["class_name"] == "Model"
    assert found.weights["conv2d_1"]["conv2d_1/kernel:0"].shape == (3, 3, 3, 4)
    assert found.keras_version == "2.1.3"


def _replaced(make: Callable[[h5py.Group, Path], None]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "a") as file:
            group = file["model_weights"]["conv2d_1"]["conv2d_1"]
            del group["kernel:0"]
            make(group, path.parent)

    return change


def _external_link(group: h5py.Group, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["kernel"] = np.zeros((3, 3, 3, 4), np.float32)
    group["kernel:0"] = h5py.ExternalLink(str(folder / "other.h5"), "kernel")


def _soft_link(group: h5py.Group, _: Path) -> None:
    group["kernel:0"] = h5py.SoftLink("/model_weights/dense_4/dense_4/kernel:0")


def _external_storage(group: h5py.Group, folder: Path) -> None:
    (folder / "raw").write_bytes(bytes(432))
    group.create_dataset("kernel:0", (3, 3, 3, 4), np.float32, external=[(str(folder / "raw"), 0, 432)])


def _virtual(group: h5py.Group, folder: Path) -> None:
    layout = h5py.VirtualLayout((3, 3, 3, 4), np.float32)
    layout[...] = h5py.VirtualSource(str(folder / "other.h5"), "kernel", (3, 3, 3, 4))
    group.create_virtual_dataset("kernel:0", layout)


def _bomb(group: h5py.Group, _: Path) -> None:
    group.create_dataset("kernel:0", (1 << 20, 1 << 20), np.float32, chunks=(1 << 10, 1 << 10), compression="gzip")


def _large_pieces(group: h5py.Group, _: Path) -> None:
    group.create_dataset("kernel:0", (3, 3), np.float32, chunks=(1 << 15, 1 << 14), maxshape=(None, None))


def _references(group: h5py.Group, _: Path) -> None:
    group.create_dataset("kernel:0", (3,), h5py.ref_dtype)


def _words(group: h5py.Group, _: Path) -> None:
    group.create_dataset("kernel:0", data=["os.system('true')"], dtype=h5py.string_dtype())


def _compound(group: h5py.Group, _: Path) -> None:
    group.create_dataset("kernel:0", (3,), np.dtype([("a", "f4"), ("b", "i4")]))


def _whole_numbers(group: h5py.Group, _: Path) -> None:
    group.create_dataset("kernel:0", data=np.zeros((3, 3, 3, 4), np.int8))


def _nan(group: h5py.Group, _: Path) -> None:
    group.create_dataset("kernel:0", data=np.full((3, 3, 3, 4), np.nan, np.float32))


def _beyond_float32(group: h5py.Group, _: Path) -> None:
    group.create_dataset("kernel:0", data=np.full((3, 3, 3, 4), 1e300))


def _null(group: h5py.Group, _: Path) -> None:
    group.create_dataset("kernel:0", data=h5py.Empty("f4"))


def _other_filter(group: h5py.Group, _: Path) -> None:
    group.create_dataset("kernel:0", data=np.zeros((3, 3, 3, 4), np.float32), compression="lzf")


def _group(group: h5py.Group, _: Path) -> None:
    group.create_group("kernel:0")


HOSTILE: dict[str, tuple[Callable[[h5py.Group, Path], None], Reason]] = {
    "external link": (_external_link, Reason.FILE_UNSAFE),
    "soft link": (_soft_link, Reason.FILE_UNSAFE),
    "external storage": (_external_storage, Reason.FILE_UNSAFE),
    "virtual data set": (_virtual, Reason.FILE_UNSAFE),
    "four terabytes": (_bomb, Reason.LIMIT_EXCEEDED),
    "two-gigabyte pieces": (_large_pieces, Reason.LIMIT_EXCEEDED),
    "object references": (_references, Reason.WEIGHTS_DISAGREE),
    "words": (_words, Reason.WEIGHTS_DISAGREE),
    "compound": (_compound, Reason.WEIGHTS_DISAGREE),
    "whole numbers": (_whole_numbers, Reason.WEIGHTS_DISAGREE),
    "NaN": (_nan, Reason.NUMBERS_UNUSABLE),
    "beyond float32": (_beyond_float32, Reason.NUMBERS_UNUSABLE),
    "nothing": (_null, Reason.FILE_UNREADABLE),
    "a filter from elsewhere": (_other_filter, Reason.NOT_SUPPORTED),
    "a group": (_group, Reason.FILE_UNREADABLE),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_weights_that_are_no_plain_array_are_refused(path: Path, kind: str) -> None:
    """The reason and the weight's name are said."""
    make, reason = HOSTILE[kind]
    _replaced(make)(path)
    error = refusal(path)
    assert error.reason is reason
    assert "kernel:0" in error.message or reason is Reason.FILE_UNREADABLE


@pytest.mark.parametrize("name", ["/model_weights/dense_4/kernel:0", "../kernel:0", "a//b", ".", "", "x/" * 40 + "y"])
def test_names_that_are_paths_are_refused(path: Path, name: str) -> None:
    """A weight's name leads downwards, step by step."""
    with h5py.File(path, "a") as file:
        file["model_weights"]["conv2d_1"].attrs.create("weight_names", [name], dtype=h5py.string_dtype())
    assert refusal(path).reason in (Reason.FILE_UNSAFE, Reason.WEIGHTS_DISAGREE)


def test_half_and_double_precision_and_gzip_are_read(path: Path) -> None:
    """Big-endian too."""
    wanted = np.arange(108, dtype=np.float32).reshape(3, 3, 3, 4) / 128
    for kind in ("<f2", ">f4", "<f8", ">f8"):
        _replaced(
            lambda group, _, kind=kind: group.create_dataset("kernel:0", data=wanted.astype(kind), compression="gzip")
        )(path)
        found = read_keras_file(path).weights["conv2d_1"]["conv2d_1/kernel:0"]
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == np.dtype("<f4")


def _attribute(name: str, value: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "a") as file:
            if value is None:
                del file.attrs[name]
            else:
                file.attrs[name] = value

    return change


ATTRIBUTES: dict[str, tuple[Callable[[Path], None], Reason, str]] = {
    "weights alone": (_attribute("model_config", None), Reason.NOT_SUPPORTED, "model_config is missing"),
    "a number": (_attribute("model_config", 7), Reason.FILE_UNREADABLE, "needed: text"),
    "no JSON": (_attribute("model_config", "{"), Reason.FILE_UNREADABLE, "no JSON"),
    "a list": (_attribute("model_config", "[]"), Reason.FILE_UNREADABLE, "no JSON object"),
    "deep": (_attribute("model_config", "[" * 30_000), Reason.FILE_UNREADABLE, "no JSON"),
    "no text": (_attribute("model_config", b"\xff\xfe"), Reason.FILE_UNREADABLE, ""),
    "two texts": (_attribute("model_config", ["{}", "{}"]), Reason.FILE_UNREADABLE, "2 texts"),
    "Keras 3": (_attribute("keras_version", "3.1.0"), Reason.NOT_SUPPORTED, "needed: 2.x"),
    "Theano": (_attribute("backend", "theano"), Reason.NOT_SUPPORTED, "kernels are not flipped"),
}


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_attributes_that_are_not_those_of_keras_are_refused(path: Path, kind: str) -> None:
    """Each says which attribute."""
    change, reason, said = ATTRIBUTES[kind]
    change(path)
    error = refusal(path)
    assert error.reason is reason
    assert said in error.message


def test_lists_that_are_cut_in_pieces_are_joined(path: Path) -> None:
    """Keras does so with long lists of names."""
    before = read_keras_file(path)
    with h5py.File(path, "a") as file:
        root = file["model_weights"]
        names = list(root.attrs["layer_names"])
        del root.attrs["layer_names"]
        root.attrs["layer_names0"], root.attrs["layer_names1"] = names[:2], names[2:]
    after = read_keras_file(path)
    assert {k: list(v) for k, v in after.weights.items()} == {k: list(v) for k, v in before.weights.items()}


def test_weights_in_the_root_and_text_as_str_are_read(tmp_path: Path) -> None:
    """Other writers do that."""
    with h5py.File(tmp_path / "n.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Model"})
        file.attrs["layer_names"] = ["input_1"]
        file.create_group("input_1").attrs["weight_names"] = np.zeros(0)
    found = read_keras_file(tmp_path / "n.h5")
    assert isinstance(found, KerasFile)
    assert found.weights == {"input_1": {}}


def test_all_weights_together_are_limited(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where each is small."""
    assert container.MAX_FILE_BYTES == import_limits.MAX_FILE_BYTES
    monkeypatch.setattr(container, "MAX_FILE_BYTES", 450)
    assert refusal(path).reason is Reason.LIMIT_EXCEEDED


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_files_are_refused(path: Path, share: float) -> None:
    """The download broke off."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert refusal(path).reason is Reason.FILE_UNREADABLE


def test_a_layer_named_twice_is_refused(tmp_path: Path) -> None:
    """Its weights could be those of either."""
    write_file(tmp_path / "n.h5", {"class_name": "Model"}, {"a": {}})
    with h5py.File(tmp_path / "n.h5", "a") as file:
        file["model_weights"].attrs["layer_names"] = ["a", "a"]
    assert "a name twice" in refusal(tmp_path / "n.h5").message
