from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import ugsd_privacy
from ugsd_privacy import errors

PACKAGE = Path(ugsd_privacy.__file__).parent
ROOT = PACKAGE.parents[1]

SURFACE = {
    "": (
        "BudgetLimits CaptionHandle ClientChannel Egress Escalation Ledger LogKey "
        "LogPublicKey OwnerKey OwnerPublicKey Receipt SealedFrame ServerChannel Usage "
        "VerifierKey VerifierPublicKey verify_log"
    ),
    ".audit": "",
    ".audit.bodies": (
        "BodyReader BodyUnavailable Epoch StoredBodyChecker is_sealed not_erased plain_body"
    ),
    ".audit.cosigned": "CosignedNotes accept_cosignature cosign_request",
    ".audit.export": (
        "CHECK_BYTES EXPORT_FORMAT EXPORT_VERSION MAX_BODY_BYTES MAX_CHECKPOINTS "
        "MAX_ITEM_BYTES ExportHeader RunningTotals check_longest check_roots export_log "
        "leaf_check read_item seal_text"
    ),
    ".audit.offline": "ExportSummary verify_export",
    ".audit.publishing": "CHECKPOINT_FILE Published check_contents publish_tiles",
    ".audit.receipts": "Consistency Receipt",
    ".audit.records": (
        "BLOCK_FIELDS MAX_RANGES MAX_USER_CHARACTERS RECORD_VERSION SALT_BYTES "
        "UNSEALED_KINDS Counts EgressRecord Leaf LogLevel Resettable commitment "
        "decode_record"
    ),
    ".audit.signing": "LogSigner",
    ".audit.tiles_folder": "TilesSummary verify_tiles",
    ".audit.verify": "LogSummary Progress verify_log verify_view",
    ".bounded_json": "check_json",
    ".budget": "CAPS DELTA MEASURES WINDOWS BudgetLimits Usage Window check_caps",
    ".cbor": "decode_item encode_item",
    ".dp": "",
    ".dp.accounting": (
        "MAX_PRIVACY_EPSILON RELATION STATE_SENSITIVITY UNBOUNDED_COST Guarantee Unit "
        "compose delta_from_mu epsilon_from_mu epsilon_of_privacy_cost gaussian_mu "
        "mu_from_epsilon privacy_cost privacy_cost_of_epsilon sigma_from_epsilon"
    ),
    ".dp.mechanism": "MAX_SIGMA QUANTISATION_STEPS clip dequantise noised noised_units quantise",
    ".dp.sampler": "RoundedGaussian",
    ".egress": "CaptionHandle Egress Escalation SealedFrame",
    ".errors": (
        "BudgetExceeded ChannelClosed ChannelError ExportFailed FrameRejected "
        "HandshakeFailed KeyFileError LeakageNotMeasured LedgerCorrupt LedgerError "
        "LedgerMoved LedgerUnavailable LogTampered ManifestRejected PrivacyError "
        "ReportRejected UnknownVersion UserNameRefused WireError WitnessUnavailable"
    ),
    ".files": "",
    ".files.atomic_files": (
        "atomic_writer exclusive_folder is_temporary read_bounded write_atomically"
    ),
    ".files.bounded_files": "MAX_TEXT_BYTES open_regular read_regular",
    ".files.file_lock": "file_lock",
    ".files.file_owners": (
        "make_private_folder require_not_writable require_not_writable_by_others "
        "require_owned_by_us"
    ),
    ".files.fingerprint": "fingerprint",
    ".files.key_files": (
        "create_private from_text make_private_folder read_text replace_text "
        "require_not_writable require_owned_by_us sync_directory to_text"
    ),
    ".files.marks": "Mark MarkFile",
    ".keys": "",
    ".keys.manifest": (
        "MAX_KEYS MAX_MANIFEST_BYTES KeyManifest ManifestKey open_manifest "
        "read_manifest_file sign verify_manifest"
    ),
    ".keys.owner": "OwnerKey OwnerPublicKey",
    ".keys.root": "ROOT_PUBLIC_BYTES ROOT_SIGNATURE_BYTES RootKey RootPin RootPublicKey",
    ".keys.verifier": "VerifierKey VerifierPublicKey",
    ".ledger": (
        "ALL_USERS BlockDecisionRow EgressTransaction Ledger LedgerRow LedgerView "
        "OwnerTransaction SigningTransaction Total Uptime system_uptime window_numbers"
    ),
    ".ledger.anchor": "Anchor Mark",
    ".ledger.clock": "SECONDS_PER_HOUR Start Uptime hour_of system_uptime",
    ".ledger.database": "Database open_database",
    ".ledger.decisions": (
        "MAX_DECISIONS BlockDecisionRow append_decisions delete_decisions read_decisions"
    ),
    ".ledger.files": "FileId prepare_files require_in_place require_private sqlite_files",
    ".ledger.schema": "LOST is_new prepare_schema",
    ".ledger.store": "Ledger",
    ".ledger.views": (
        "ALL_USERS MAX_CHECKPOINTS EgressTransaction LedgerRow LedgerView "
        "OwnerTransaction SigningTransaction Total window_numbers"
    ),
    ".output": "",
    ".output.consoles": "bars console",
    ".output.plain_text": "MOST_CHARACTERS is_visible plain_json plain_line plain_text",
    ".output.standard_output": "reserved_stdout",
    ".output.terminal": "configure_logging run_app tell tell_document tell_error tell_json",
    ".protocol": "",
    ".protocol.channel": (
        "CHANNEL_VERSION CONSTANT_FRAME_BYTES FRAME_BYTES HELLO_BYTES ClientChannel "
        "ServerChannel TrafficShape"
    ),
    ".protocol.messages": (
        "MAX_CAPTION_TOKENS MAX_MESSAGE_BYTES MAX_STATE_DIM WIRE_VERSION Block Cover "
        "DeviceMessage Disclosure Refusal RefusalCode ServerMessage Verdict Welcome "
        "decode_device_message decode_server_message encode"
    ),
    ".reports": "",
    ".reports.build": "BudgetState Protections ReportedLog build_report",
    ".reports.captions": "caption_rows",
    ".reports.charts": "Chart bytes_chart epsilon_chart",
    ".reports.entries": "Entry Period read_entries total_of",
    ".reports.fleet": "Device header_of_export is_whole merge_rows name_of_log verify_device",
    ".reports.fleet_model": "FleetReport FleetRow",
    ".reports.html": "MOST_CAPTIONS fleet_html report_html",
    ".reports.inline_svg": "COLOURS inline",
    ".reports.known_logs": "KnownLog KnownLogs",
    ".reports.leakage": "LEAKAGE_FILE UNENROLLED Leakage LeakageFigure",
    ".reports.markdown": "fleet_markdown report_markdown",
    ".reports.model": (
        "SHARED_REASONS CapRow CaptionRow DayRow Gap HandshakeRow Protection Reason "
        "Report ResetRow Sent Word"
    ),
    ".reports.parts": "MAX_COUNT Amounts Count Counted Part Several Sum Time Verification",
    ".reports.schema": "MAX_REPORT_BYTES AnyReport read_report report_schema",
    ".reports.wording": (
        "BUDGET_NOTE MOST_CHARACTERS OUTCOMES SELF_REPORTED_NOTE UNPROVEN_NOTE VERDICTS "
        "bound date fleet_verdict gap indices num_refused number outside_period period "
        "plain_words plural remaining_text time unreported used_text vectors verdict "
        "witness_of"
    ),
    ".strict_models": "StrictModel",
    ".tlog": "",
    ".tlog.checkpoint": (
        "Checkpoint note_origin note_signatures open_checkpoint open_note "
        "parse_checkpoint sign_checkpoint sign_note"
    ),
    ".tlog.cosignature": (
        "END_OF_TIME_S WitnessKey WitnessPublicKey cosign verify_cosignature "
        "verify_cosigned with_cosignatures"
    ),
    ".tlog.log_keys": "LogKey LogPublicKey NotePublicKey log_origin",
    ".tlog.merkle": (
        "EMPTY_ROOT Node NodeReader completed_nodes consistency_proof extend_frontier "
        "frontier_positions frontier_root inclusion_proof leaf_hash node_hash tree_root "
        "verify_consistency verify_inclusion"
    ),
    ".tlog.note_files": "MAX_NOTE_BYTES read_note",
    ".tlog.tile_files": "TileFiles placed_files read_regular_file",
    ".tlog.tiles": (
        "HASH_BYTES MAX_ENTRY_BYTES TILE_HEIGHT TILE_WIDTH NodesReader Tile "
        "bundle_bytes check_tile edge_tiles entries entry_at new_tiles subtree_root "
        "tile_hashes width_in"
    ),
    ".tlog.witness": "MAX_REQUEST_BYTES AddCheckpoint Answer Witness",
    ".tlog.witness_state": "WitnessState open_witness",
    ".user_names": "MAX_USER_CHARACTERS normal_user require_normal_user",
}
modules = pytest.mark.parametrize("module", SURFACE)


@modules
def test_the_public_names_are_these(module: str) -> None:
    names = list(getattr(import_module(f"ugsd_privacy{module}"), "__all__", []))
    assert names == SURFACE[module].split()
    for name in names:
        assert getattr(import_module(f"ugsd_privacy{module}"), name) is not None


def test_no_module_is_left_out() -> None:
    stems = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    names = {"".join(f".{part}" for part in stem.parts if part != "__init__") for stem in stems}
    assert names == set(SURFACE)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        _ = ugsd_privacy.nothing  # type: ignore[attr-defined]


def test_every_error_is_a_privacy_error_and_stands_in_the_tree() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.PrivacyError)
        assert name in (errors.__doc__ or "")


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = run("import sys, ugsd_privacy; print(*sys.modules)").split()
    heavy = {"numpy", "pydantic", "cryptography", "cbor2", "sqlite3"}
    assert not heavy & set(loaded)


def test_the_whole_package_loads_no_model_and_no_network() -> None:
    imports = "; ".join(f"import ugsd_privacy{module}" for module in SURFACE)
    loaded = run(f"import sys; {imports}; print(*sys.modules)").split()
    forbidden = {
        "torch",
        "onnxruntime",
        "transformers",
        "websockets",
        "asyncio",
        "_ssl",
        "http.client",
    }
    assert not forbidden & set(loaded)


def test_the_device_seals_nothing_but_through_the_door() -> None:
    for path in (ROOT / "sdk").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert not [call for call in calls if call.endswith(("channel.seal", "channel.hello"))], (
            path
        )


def test_only_the_door_names_its_token_or_makes_frames() -> None:
    for folder in ("privacy", "sdk", "server"):
        for path in (ROOT / folder).rglob("*.py"):
            if path == PACKAGE / "egress.py":
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            calls = [
                ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)
            ]
            assert not [call for call in calls if call.split(".")[-1] == "SealedFrame"], path
            names = {
                ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Name | ast.Attribute)
            }
            assert not [name for name in names if name.split(".")[-1] == "_EGRESS_TOKEN"], path
