"""The sections of the configuration: their keys, defaults and bounds. Units stand in names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from egfr_dls.findings import OWN_LEDGER
from egfr_dls.node_transport import check_destination, check_source, web_address


def _source_name(text: str) -> str:
    if text == OWN_LEDGER:
        raise ValueError(f"{text!r} is what reports call this node's own results; needed: another name")
    return text


def _ae_title(text: str) -> str:
    """Check against PS3.5 table 6.2-1, AE."""
    if not text.strip() or len(text) > 16 or "\\" in text or not text.isascii() or not text.isprintable():
        raise ValueError(
            f"{text!r} is no AE title; needed: 1 to 16 printable ASCII characters, no backslash, not only spaces"
        )
    return text


def _regular_expression(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression ({error})") from error
    return pattern


AeTitle = Annotated[str, AfterValidator(_ae_title), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 16})]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Peer(_Section):
    """Who may open an association: AE title and where it calls from."""

    ae_title: AeTitle
    host: str  # name, address or network (CIDR)
    port: int | None = Field(None, ge=1, le=65535)  # where it takes storage commitment reports
    certificate_names: tuple[str, ...] = ()  # one of which its certificate must have; then it calls by TLS only

    @model_validator(mode="after")
    def _port_of_one_host(self) -> Self:
        """Refuse a port of a whole network: nothing can be sent there."""
        if self.port is not None and "/" in self.host:
            raise ValueError(
                f"port {self.port} with host {self.host!r}; needed: one address or name as host, or no port"
            )
        return self


class ListenerTls(_Section):
    """How associations are accepted by TLS, on a port of its own."""

    port: int = Field(2762, ge=0, le=65535)  # dicom-tls; 0: any free one, logged at start
    certificate: Path  # PEM, with the authorities between it and the root
    key: Path  # PEM, without a pass phrase
    ca: Path | None = None  # PEM: whose certificates callers show
    require_client_certificate: bool = True
    profile: Literal["bcp195", "bcp195-modified"] = "bcp195"

    @model_validator(mode="after")
    def _authority_of_what_is_required(self) -> Self:
        """Refuse to require certificates that nothing could be held against."""
        if self.require_client_certificate and self.ca is None:
            raise ValueError("ca is missing; needed: the authority of the callers' certificates")
        return self


class Listener(_Section):
    """How associations are accepted."""

    ae_title: AeTitle = "EGFR_DLS"
    host: str = "127.0.0.1"
    port: int | None = Field(11112, ge=0, le=65535)  # 0: any free one, logged at start; left out beside tls: none
    tls: ListenerTls | None = None
    max_associations: int = Field(64, ge=1)
    max_associations_per_peer: int = Field(16, ge=1)
    max_object_bytes: int = Field(4294967296, ge=1)
    idle_seconds: float = Field(60, gt=0)
    drain_seconds: float = Field(30, ge=0)
    workers: int = Field(1, ge=1)  # processes that accept on the same port
    check_called_ae_title: bool = True
    accept_any_peer: bool = False
    peers: tuple[Peer, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _no_plain_port_unless_given(cls, keys: Any) -> Any:
        """Open no port without TLS beside one with it, unless it is asked for."""
        return {"port": None, **keys} if isinstance(keys, Mapping) and keys.get("tls") is not None else keys

    @model_validator(mode="after")
    def _ports_and_names_that_fit(self) -> Self:
        if self.port is None and self.tls is None:
            raise ValueError("port is missing; needed: a port, or [listener.tls]")
        if self.tls is not None and self.port == self.tls.port != 0:
            raise ValueError(f"port and tls.port are both {self.port}; needed: two ports, or no port without TLS")
        if any(peer.certificate_names for peer in self.peers) and (self.tls is None or self.tls.ca is None):
            raise ValueError("peers.certificate_names without tls.ca; needed: the authority of these certificates")
        return self


class Study(_Section):
    """When a study counts as complete."""

    quiet_seconds: float = Field(60, ge=0)  # since the last instance, when the required pair is there
    force_seconds: float = Field(5400, ge=0)
    force_action: Literal["refuse", "score", "wait"] = "refuse"


class S3(_Section):
    """Where in object storage the spool lies. Credentials come from the environment, never from here."""

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    endpoint: str = Field("", pattern=r"^(https?://[^/\s]+/?)?$")  # empty: Amazon S3
    prefix: str = Field("spool", pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$")  # each installation has its own


class Storage(_Section):
    """Where the durable state lies."""

    root: Path
    engine: Literal["directory", "s3"] = "directory"  # of the spool; all else is under the root
    min_free_bytes: int = Field(1073741824, ge=0)
    retention_days: float = Field(30, ge=0)  # how long instances stay after their study is over
    s3: S3 | None = None

    @model_validator(mode="after")
    def _one_engine(self) -> Self:
        """Refuse a section without effect, and an engine without its section."""
        if (self.engine == "s3") != (self.s3 is not None):
            raise ValueError("engine 's3' and the section [storage.s3] belong together; needed: both or none")
        return self


class LedgerSettings(_Section):
    """Which database holds the ledger; empty: ``ledger.sqlite`` under the storage root."""

    url: str = ""


class Inference(_Section):
    """How networks are run."""

    backend: Literal["onnxruntime"] = "onnxruntime"
    models: Path | None = None  # default: the shipped packages
    threads: int = Field(1, ge=1)
    workers: int = Field(1, ge=1)
    max_batch: int = Field(64, ge=1)
    allow_demonstration_models: bool = False
    registration: Literal["when_needed", "always"] = "when_needed"  # always: also in one frame of reference
    trusted_keys: tuple[Path, ...] = ()  # PEM, Ed25519: whose signed packages are taken
    require_signature: bool = False

    @model_validator(mode="after")
    def _keys_of_what_is_required(self) -> Self:
        if self.require_signature and not self.trusted_keys:
            raise ValueError("require_signature without trusted_keys; needed: the public keys of whom you trust")
        return self


class PetCtEgfr(_Section):
    """The PET/CT biomarker."""

    enabled: bool = True
    model: str | None = None  # "name@version"; needed only where `models` holds more than one that fits
    companion_model: str | None = None
    propose_roi: bool = True
    ambiguous_roi: Literal["propose", "refuse"] = "propose"
    roi_label_pattern: Annotated[str, AfterValidator(_regular_expression)] | None = None
    stored_roi_is: Literal["lesion", "box"] = "lesion"
    suv_failure_policy: Literal["omit", "refuse"] = "omit"


class Biomarkers(_Section):
    """One sub-section per biomarker."""

    pet_ct_egfr: PetCtEgfr = PetCtEgfr()


class Reporting(_Section):
    """Which objects are made."""

    refusals: bool = True
    pages: bool = True
    map: bool = False
    pdf: bool = False
    indeterminate_band: float = Field(0.0, ge=0, le=0.5)


class PeerTls(_Section):
    """Whom a node that we call by TLS must be, and who we are to it."""

    ca: Path | None = None  # PEM: who vouches for it; none: whom the system trusts
    certificate: Path | None = None  # PEM, ours, where it asks for one
    key: Path | None = None  # PEM, without a pass phrase

    @model_validator(mode="after")
    def _certificate_with_key(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together; needed: both or none")
        return self


class Destination(_Section):
    """A PACS that gets the results."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    transport: Literal["dimse", "stow"] = "dimse"
    ae_title: Annotated[str, AfterValidator(_ae_title)] = (
        ""  # this, host and port: of dimse, and there they must be given
    )
    host: str = ""
    port: int = Field(0, ge=0, le=65535)
    url: Annotated[str, AfterValidator(web_address)] | None = None  # of stow, as the one below
    authorization_file: Path | None = None  # holds the value of the Authorization header
    tls: PeerTls | None = None
    storage_commitment: bool | None = None  # left out: where the destination takes it; false: prove by query
    required: bool = True
    sr_class: Literal["comprehensive_3d", "comprehensive", "enhanced"] | None = None  # left out: the first it takes
    retry_seconds: float = Field(30, gt=0)  # first back-off of one object; doubles up to an hour

    @model_validator(mode="after")
    def _keys_of_its_transport(self) -> Self:
        check_destination(self.transport, dict(self))
        return self

    @property
    def machine(self) -> str:
        """The name or address of the machine, as written."""
        return self.host or urlsplit(self.url or "").hostname or ""


class Source(_Section):
    """A PACS that is asked for what a study lacks."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$"), AfterValidator(_source_name)]
    transport: Literal["dimse", "dicomweb"] = "dimse"
    ae_title: Annotated[str, AfterValidator(_ae_title)] = ""  # dimse needs this, host and port
    host: str = ""
    port: int = Field(0, ge=0, le=65535)
    retrieve: Literal["c-get", "c-move"] | None = None  # left out: C-GET where the source takes it, else C-MOVE
    url: Annotated[str, AfterValidator(web_address)] | None = None  # of dicomweb, as the one below
    authorization_file: Path | None = None  # holds the value of the Authorization header
    tls: PeerTls | None = None
    max_instances: int = Field(5000, ge=1)  # of one study; a source that lists more is not fetched from
    max_bytes: int = Field(4294967296, ge=1)  # of one study, by C-GET or DICOMweb
    max_seconds: float = Field(600, gt=0)  # of one study

    @model_validator(mode="after")
    def _keys_of_its_transport(self) -> Self:
        check_source(self.transport, dict(self))
        return self


class Context(_Section):
    """Where the site leaves what it knows of its patients from outside the images; without the section it is unknown."""

    folder: Path


class Http(_Section):
    """Where health and metrics are served; without the section they are not."""

    host: str = "127.0.0.1"
    port: int = Field(9100, ge=0, le=65535)  # 0: any free one, logged at start


class Logging(_Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
    site_key_file: Path | None = None  # default: site.key under the storage root, made at first start
