"""ModelPackage: a folder with a network, its manifest and its golden test; read and checked as a whole.

``model.json`` has the schema ``egfr-dls-model/1``. No runtime is imported here.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from egfr_dls.errors import ConfigurationError
from inference.models.block import Block
from inference.models.card import Card
from inference.models.package_files import MAX_MANIFEST_BYTES, file_sha256, read_file
from inference.models.signature import NO_TRUST, UNSIGNED, Signature, Trust, check_signature

MANIFEST_NAME = "model.json"
NETWORK_NAME = "model.onnx"
HALF_NAME = "model.fp16.onnx"
GOLDEN_NAME = "golden.npz"
SCHEMA = "egfr-dls-model/1"
MAX_FAULTS = 8  # that one message names
Precision = Literal["fp32", "fp16"]
NETWORKS: dict[Precision, str] = {"fp32": NETWORK_NAME, "fp16": HALF_NAME}
Extent = Annotated[int, Field(ge=1, le=16384)]


class Preprocessing(Block):
    """How pixels become the network's input and its slice scores a patient score.

    The defaults are those of the published EGFR model (Mu et al. 2020). ``id`` changes with any change of the numbers
    that a given set of fields leads to.
    """

    id: Literal["mu2020-hyperimage-1"] = "mu2020-hyperimage-1"
    input_signature: Literal["stacked", "planes"] = "stacked"
    channels: tuple[Literal["pet"], Literal["ct"], Literal["fuse"]] = ("pet", "ct", "fuse")
    size: int = Field(64, ge=8)
    roi_size: int = Field(128, ge=8)
    box: Literal["slice", "volume"] = "slice"
    margin_mm: float = Field(15, ge=10, le=20)
    min_area_mm2: float = Field(20, gt=0)
    min_slices: int = Field(3, ge=1)
    fov_policy: Literal["warn", "strict"] = "warn"  # what is beyond the bounds of the field of view
    ct_window: tuple[float, float] | None = None  # HU
    quantise_8bit: bool = True
    floor: Literal["second_smallest", "none"] = "second_smallest"
    zscore_ddof: Literal[0, 1] = 1
    fuse: Literal["sum_of_minmax", "sum_of_zscores"] = "sum_of_minmax"
    class_index: Literal[0, 1] = 1  # the softmax column of the positive class
    aggregate: Literal["mean", "median"] = "mean"
    cut_off: float = Field(0.5, gt=0, lt=1)  # at or above: high
    radiopharmaceutical: Literal["FDG"] = "FDG"

    @model_validator(mode="after")
    def _window_rises(self) -> Self:
        if self.ct_window is not None and self.ct_window[0] >= self.ct_window[1]:
            raise ValueError("ct_window must be [low, high] with low < high")
        return self


class InputBlock(Block):
    """The ONNX inputs: their names, and the shape ``[channels, rows, columns]`` of each."""

    names: tuple[str, ...] = Field(min_length=1)
    shape: tuple[Extent, Extent, Extent]


class CamBlock(Block):
    """The class map output and the bias that it includes (one value a class)."""

    output: Literal["cam"] = "cam"
    bias: tuple[float, ...] = Field(min_length=1)
    grid: tuple[Extent, Extent]


class Tolerance(Block):
    """How far a backend may be from the golden values.

    Probabilities as they are, maps relative to their largest value, logits relative to the largest of them or to 1.
    """

    prob: float = Field(gt=0)
    cam_rel: float = Field(gt=0)
    logit_rel: float = Field(1e-4, gt=0)


class Manifest(Block):
    """``model.json``. Each ONNX input has ``input.shape``; callers pass them joined along the channels."""

    schema_: Literal["egfr-dls-model/1"] = Field(alias="schema")
    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    version: str = Field(pattern=r"^[A-Za-z0-9._-]{1,32}$")
    status: Literal["demonstration", "research", "site-validated"]
    task: Literal["egfr", "pdl1"]
    licence: str
    trained_on: str
    performance: str
    files: dict[str, str] = Field(max_length=16)
    source: dict[str, str] | None = None
    input: InputBlock
    labels: tuple[str, ...] = Field(min_length=1, max_length=1000)
    preprocessing: Preprocessing | None
    cam: CamBlock | None
    logits: Literal["logits"] | None = None  # the output of what the softmax (or sigmoid) is made of
    tolerance: dict[Precision, Tolerance]
    variants: tuple[Precision, ...] = ("fp32",)
    left_out: dict[Precision, str] = Field({}, max_length=2)  # variants that the maker tried, and why there are none
    card: Card | None = None

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        for name in (NETWORK_NAME, GOLDEN_NAME, *(NETWORKS[variant] for variant in self.variants)):
            if name not in self.files:
                raise ValueError(f"files must list {name} with its sha256")
        for precision in ("fp32", *self.variants):
            if precision not in self.tolerance:
                raise ValueError(f"tolerance.{precision} is missing and must be given")
        if self.cam is not None and len(self.cam.bias) != len(self.labels):
            raise ValueError(f"cam.bias has {len(self.cam.bias)} values for {len(self.labels)} labels")
        if self.preprocessing is not None:
            self._serves(self.preprocessing)
        return self

    def _serves(self, recipe: Preprocessing) -> None:
        wanted = {
            "stacked": (("image",), (3, recipe.size, recipe.size)),
            "planes": (recipe.channels, (1, recipe.size, recipe.size)),
        }[recipe.input_signature]
        if (self.input.names, self.input.shape) != wanted:
            raise ValueError(
                f"input is {list(self.input.names)} of {list(self.input.shape)}; preprocessing.input_signature "
                f"{recipe.input_signature} needs {list(wanted[0])} of {list(wanted[1])}"
            )
        if len(self.labels) != 2:
            raise ValueError(f"labels has {len(self.labels)} entries; a served network has two classes")


@dataclass(frozen=True)
class ModelPackage:
    """A checked package folder: every file has the digest that its manifest states."""

    folder: Path
    manifest: Manifest
    signature: Signature = UNSIGNED

    @property
    def key(self) -> str:
        """``name@version``, as the settings name it."""
        return f"{self.manifest.name}@{self.manifest.version}"

    @property
    def network(self) -> Path:
        """The ONNX file."""
        return self.folder / NETWORK_NAME

    def variant(self, precision: Precision) -> str:
        """Return the file name of a variant; raises ConfigurationError where the package has none."""
        if precision not in self.manifest.variants:
            have = ", ".join(self.manifest.variants)
            why = self.manifest.left_out.get(precision)
            raise ConfigurationError(
                f"{self.folder} has no variant {precision}; it has {have}" + (f" ({why})" if why else "")
            )
        return NETWORKS[precision]

    @property
    def golden(self) -> Path:
        """Inputs with the outputs that ONNX Runtime on a CPU gave."""
        return self.folder / GOLDEN_NAME

    @property
    def sha256(self) -> str:
        """Digest of the network's file; it names the weights in reports and UIDs."""
        return self.manifest.files[NETWORK_NAME]

    @property
    def preprocessing(self) -> Preprocessing:
        """The recipe of a package that a biomarker may take."""
        if self.manifest.preprocessing is None:
            raise ConfigurationError(f"{self.folder / MANIFEST_NAME}: preprocessing is null, so no biomarker takes it")
        return self.manifest.preprocessing

    def content(self, name: str) -> bytes:
        """Return a listed file; raises ConfigurationError unless these very bytes have the digest that is stated."""
        content = read_file(self.folder, name)
        _check_digest(self, name, hashlib.sha256(content).hexdigest())
        return content

    @staticmethod
    def read(folder: Path, trust: Trust = NO_TRUST) -> ModelPackage:
        """Read and check a package folder: its signature, its manifest and the digest of every file.

        Raises
        ------
        ConfigurationError
            names the file and the key, what was found and what was needed
        """
        manifest = read_file(folder, MANIFEST_NAME, MAX_MANIFEST_BYTES)
        signature = check_signature(folder, manifest, trust)  # before anything in it is believed
        package = ModelPackage(folder, parse_manifest(folder / MANIFEST_NAME, manifest), signature)
        for name in package.manifest.files:
            _check_digest(package, name, file_sha256(folder, name))
        return package


def parse_manifest(path: Path, content: bytes) -> Manifest:
    """Return the manifest in a document; raises ConfigurationError with every fault, at most some of them."""
    try:
        document: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not JSON: {error}") from error
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        faults = error.errors()
        more = f"; and {len(faults) - MAX_FAULTS} more" if len(faults) > MAX_FAULTS else ""
        raise ConfigurationError(f"{path}: {'; '.join(map(sentence, faults[:MAX_FAULTS]))}{more}") from error


def sentence(fault: Any) -> str:
    key = ".".join(str(part)[:80] for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key}"
    if fault["type"] == "missing":
        return f"{key} is missing and must be given"
    if not key:
        return str(fault["msg"])
    return f"{key}: {fault['msg']}, found {reprlib.repr(fault['input'])}"


def _check_digest(package: ModelPackage, name: str, found: str) -> None:
    if found != (stated := package.manifest.files[name]):
        raise ConfigurationError(
            f"{package.folder / name}: sha256 is {found}, but {MANIFEST_NAME} states files.{name} = {stated[:80]}; "
            "the file was changed or damaged: install the package again"
        )
