"""The configuration: what is wrong is named by its key, and nothing that is given goes without effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from egfr_dls import settings
from egfr_dls.errors import ConfigurationError, ExitCode
from egfr_dls.settings_faults import NOT_IN_THIS_VERSION
from egfr_dls.settings_sections import PeerTls

ROOT = {"storage": {"root": "/somewhere"}}
DESTINATION = '[[destinations]]\nname = "{}"\nae_title = "PACS"\nhost = "pacs"\nport = 104\n'


def fault(tmp_path: Path, text: str, overrides: dict[str, Any] | None = None) -> str:
    """Return what is said of this file."""
    path = tmp_path / "egfr-dls.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        settings.load(path, ROOT if overrides is None else overrides)
    assert caught.value.exit_code is ExitCode.CONFIGURATION
    return str(caught.value)


def test_only_the_storage_root_must_be_given(tmp_path: Path) -> None:
    path = tmp_path / "egfr-dls.toml"
    path.write_text('[storage]\nroot = "/var/lib/egfr-dls"\n', encoding="utf-8")
    loaded = settings.load(path)
    assert loaded.storage.root == Path("/var/lib/egfr-dls")
    assert loaded.ledger_url == "sqlite:////var/lib/egfr-dls/ledger.sqlite"
    assert fault(tmp_path, "", {}) == "storage.root is missing and must be given"
    assert fault(tmp_path, "[storage]\nmin_free_bytes = 1\n", {}) == "storage.root is missing and must be given"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[listener]\nprot = 104", "unknown key listener.prot; did you mean port?"),
        ("[lisener]\nport = 104", "unknown key lisener; did you mean listener?"),
        ("[biomarkers.pet_ct_egfr]\npropose_rio = 1", "biomarkers.pet_ct_egfr.propose_rio; did you mean propose_roi?"),
        (DESTINATION.format("a") + "prot = 3", "unknown key destinations.prot; did you mean port?"),
        ("[study]\nzzz = 1", "unknown key study.zzz; known here: quiet_seconds, force_seconds, force_action"),
    ],
)  # fmt: skip
def test_unknown_key_is_an_error_that_names_the_nearest_known_one(tmp_path: Path, text: str, message: str) -> None:
    assert fault(tmp_path, text).removeprefix("unknown key ") == message.removeprefix("unknown key ")


@pytest.mark.parametrize("key", sorted(NOT_IN_THIS_VERSION))
def test_key_of_a_later_version_is_refused_by_name(tmp_path: Path, key: str) -> None:
    section, _, name = key.rpartition(".")
    if section in ("destinations", "sources", "listener.peers"):
        text = f"[[{section}]]\n{name} = true\n"
    else:
        text = f"[{section}]\n{name} = true\n" if section else f"[{name}]\nx = 1\n"
    assert f"{key}: {NOT_IN_THIS_VERSION[key]} is not in this version; remove the key" in fault(tmp_path, text)


def test_later_keys_are_keys_that_this_version_does_not_have() -> None:
    known = settings.Settings.model_json_schema()
    assert not {key for key in NOT_IN_THIS_VERSION if "." not in key} & set(known["properties"])


SOURCE = "[[sources]]\nname = 'pacs'\n"
WEB = SOURCE + "transport = 'dicomweb'\n"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8042/dicom-web/", "http://localhost/", "https://pacs.example/qido"])
def test_a_dicomweb_source_is_read(tmp_path: Path, url: str) -> None:
    """With credentials by TLS, or to this machine."""
    path = tmp_path / "egfr-dls.toml"
    path.write_text(WEB + f"url = '{url}'\nauthorization_file = 'token'\n", encoding="utf-8")
    (source,) = settings.load(path, ROOT).sources
    assert (source.url, source.authorization_file) == (url.rstrip("/"), Path("token"))


def test_a_source_is_asked_by_tls_with_the_keys_of_a_destination(tmp_path: Path) -> None:
    path = tmp_path / "egfr-dls.toml"
    keys = "ca = 'ca.pem', certificate = 'node.pem', key = 'node.key'"
    path.write_text(f"{SOURCE}ae_title = 'A'\nhost = 'h'\nport = 2762\ntls = {{ {keys} }}\n", encoding="utf-8")
    (source,) = settings.load(path, ROOT).sources
    assert source.tls == PeerTls(ca=Path("ca.pem"), certificate=Path("node.pem"), key=Path("node.key"))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[listener]\nport = 70000", "listener.port: "),
        ("[listener]\nport = 'x'", "found 'x'"),
        ("[study]\nquiet_seconds = -1", "study.quiet_seconds: "),
        ("[study]\nquiet_seconds = inf", "study.quiet_seconds: "),
        ("[study]\nquiet_seconds = nan", "study.quiet_seconds: "),
        ("[inference]\nbackend = 'tensorrt'", "found 'tensorrt'"),
        ("[listener]\nae_title = 'A TITLE OF MORE THAN 16'", "needed: 1 to 16 printable ASCII characters"),
        ("[listener]\nae_title = 'back\\slash'", "no backslash"),
        ("[listener]\nae_title = '   '", "not only spaces"),
        ("[listener]\nae_title = 'ÄRZTE'", "printable ASCII"),
        ("listener = 3", "listener: "),
        ("[destinations]\nname = 'a'", "destinations: "),
        (DESTINATION.format("a") * 2, "destinations: name a is there more than once"),
        (DESTINATION.format("a/b"), "destinations.name: "),
        ("[listener", "is not TOML"),
        (SOURCE, "sources: ae_title is missing; needed with transport 'dimse': ae_title, host, port"),
        (SOURCE + "ae_title = 'A'\nhost = 'h'", "sources: port is missing"),
        (
            SOURCE + "ae_title = 'A'\nhost = 'h'\nport = 104\nurl = 'http://h'",
            "url is without effect with transport 'dimse'",
        ),
        (
            SOURCE + "ae_title = 'A'\nhost = 'h'\nport = 104\ntls = { certificate = 'c' }",
            "sources.tls: certificate and key belong together",
        ),
        (WEB, "sources: url is missing; needed with transport 'dicomweb': url"),
        (WEB + "url = 'http://h'\nae_title = 'A'", "sources: ae_title is without effect with transport 'dicomweb'"),
        (
            SOURCE.replace("pacs", "ledger") + "ae_title = 'A'\nhost = 'h'\nport = 1",
            "sources.name: 'ledger' is what reports call this node's own results",
        ),
        (WEB + "url = 'ftp://h/x'", "sources.url: 'ftp://h/x' is no address; needed: http(s)://host[:port][/path]"),
        (WEB + "url = 'https://h:99999'", "sources.url: "),
        (WEB + "url = 'https://h/x?token=1'", "nothing behind it"),
        (WEB + "url = 'https://me:secret@h'", "sources.url: url holds a user name; needed: authorization_file"),
        (
            WEB + "url = 'http://h'\nauthorization_file = 'f'",
            "url is http, with tls or authorization_file; needed: https",
        ),
        (WEB + "url = 'http://127.0.0.1'\ntls = { ca = 'c' }", "needed: https"),
        (WEB + "url = 'https://h'\ntls = { key = 'k' }", "sources.tls: certificate and key belong together"),
        (WEB + "url = 'https://h'\ntls = { kee = 'k' }", "unknown key sources.tls.kee; did you mean key?"),
    ],
)
def test_wrong_value_is_named_with_what_was_found(tmp_path: Path, text: str, part: str) -> None:
    assert part in fault(tmp_path, text)
    assert "secret" not in fault(tmp_path, text)


TLS = "[listener.tls]\ncertificate = 'c.pem'\nkey = 'k.pem'\nca = 'ca.pem'\n"
BOUND = "[[listener.peers]]\nae_title = 'CT'\nhost = 'ct'\ncertificate_names = ['ct']\n"


@pytest.mark.parametrize(
    ("text", "port", "tls_port"),
    [
        ("", 11112, None),
        (TLS, None, 2762),
        ("[listener]\nae_title = 'X'\n" + TLS + "port = 11112", None, 11112),
        ("[listener]\nport = 0\n" + TLS + "port = 0", 0, 0),
        ("[listener]\nport = 104\n" + TLS + BOUND, 104, 2762),
    ],
)
def test_a_port_without_tls_beside_tls_is_one_that_was_asked_for(
    tmp_path: Path, text: str, port: int | None, tls_port: int | None
) -> None:
    path = tmp_path / "egfr-dls.toml"
    path.write_text(text, encoding="utf-8")
    loaded = settings.load(path, ROOT).listener
    assert (loaded.port, loaded.tls and loaded.tls.port) == (port, tls_port)


def test_tls_from_the_environment_closes_the_plain_port_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("CERTIFICATE", "KEY", "CA"):
        monkeypatch.setenv(f"EGFR_DLS_LISTENER__TLS__{key}", f"/{key}")
    assert settings.load(None, ROOT).listener.port is None
    assert settings.load(None, {**ROOT, "listener": {"ae_title": "X"}}).listener.port is None
    monkeypatch.setenv("EGFR_DLS_LISTENER__PORT", "105")
    assert settings.load(None, ROOT).listener.port == 105


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[listener.tls]\nkey = 'k.pem'", "listener.tls.certificate is missing"),
        (TLS.replace("ca =", "#"), "listener.tls: ca is missing; needed: the authority of the callers' certificates"),
        (TLS + "profile = 'bcp'", "listener.tls.profile: "),
        (TLS + "chipher = 'x'", "unknown key listener.tls.chipher"),
        ("[listener]\nport = 2762\n" + TLS, "listener: port and tls.port are both 2762"),
        (BOUND, "listener: peers.certificate_names without tls.ca"),
        (
            TLS.replace("ca =", "require_client_certificate = false #") + BOUND,
            "listener: peers.certificate_names without",
        ),
    ],
)
def test_wrong_tls_is_named(tmp_path: Path, text: str, part: str) -> None:
    assert part in fault(tmp_path, text)


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    found = fault(tmp_path, "[listener]\nport = -1\nprot = 1\n[http.auth]\ntoken = 1\n")
    assert [part.split(":")[0].split(";")[0] for part in found.split("; ")] >= ["http.auth", "listener.port"]
    assert all(key in found for key in ("listener.port", "listener.prot", "http.auth"))


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        settings.load(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        settings.load(tmp_path / "binary.toml")


def test_arrays_of_tables_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "egfr-dls.toml"
    path.write_text(DESTINATION.format("b") + DESTINATION.format("a"), encoding="utf-8")
    assert [d.name for d in settings.load(path, ROOT).destinations] == ["b", "a"]


# the environment


def test_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "egfr-dls.toml"
    path.write_text('[storage]\nroot = "/a"\n[listener]\nport = 104\nae_title = "X"\n', encoding="utf-8")
    monkeypatch.setenv("EGFR_DLS_LISTENER__PORT", "105")
    monkeypatch.setenv("EGFR_DLS_BIOMARKERS__PET_CT_EGFR__PROPOSE_ROI", "false")
    monkeypatch.setenv("EGFR_DLS_CONFIG", str(path))
    loaded = settings.load(None)
    assert (loaded.listener.port, loaded.listener.ae_title) == (105, "X")
    assert loaded.biomarkers.pet_ct_egfr.propose_roi is False


def test_the_programs_own_keys_beat_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`analyze` in a container whose environment names the service's store must not open that store."""
    monkeypatch.setenv("EGFR_DLS_STORAGE__ROOT", "/of/the/service")
    monkeypatch.setenv("EGFR_DLS_STORAGE__MIN_FREE_BYTES", "7")
    loaded = settings.load(None, {"storage": {"root": "/private"}, "destinations": []})
    assert (loaded.storage.root, loaded.storage.min_free_bytes) == (Path("/private"), 7)


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("EGFR_DLS_LISTENER__PROT", "1", "unknown key listener.prot; did you mean port?"),
        ("EGFR_DLS_LISTNER__PORT", "1", "no section [listner]; did you mean listener?"),
        ("EGFR_DLS_LISTENER__PORT", "x", "listener.port: "),
        ("EGFR_DLS_DESTINATIONS", "[]", "names no key"),
        ("EGFR_DLS_LISTENER__PEERS", "oops", "needed: JSON"),
        ("EGFR_DLS_INFERENCE__PRECISION", "fp16", "GPU inference is not in this version"),
    ],
)
def test_wrong_variable_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str, value: str, part: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        settings.load(None, ROOT)
    assert part in str(caught.value)


# the digest that is part of every UID


def test_digest_changes_with_what_can_change_a_score_or_a_report_and_with_nothing_else() -> None:
    def digest(**sections: dict[str, Any]) -> str:
        return settings.load(None, {**ROOT, **sections}).configuration_sha256

    plain = digest()
    assert digest(biomarkers={"pet_ct_egfr": {"stored_roi_is": "box"}}) != plain
    assert digest(reporting={"indeterminate_band": 0.1}) != plain
    assert digest(listener={"port": 1}) == digest(biomarkers={"pet_ct_egfr": {"enabled": False}}) == plain


def test_a_pattern_that_is_no_regular_expression_is_refused_before_a_study_comes(tmp_path: Path) -> None:
    text = f'[storage]\nroot = "{tmp_path}"\n[biomarkers.pet_ct_egfr]\nroi_label_pattern = "("\n'
    assert "roi_label_pattern: '(' is no regular expression" in fault(tmp_path, text)
