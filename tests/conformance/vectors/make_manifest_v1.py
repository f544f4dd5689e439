"""Makes manifest-v1.json, the golden vector of key manifests. Run it to write the file.

ML-DSA's signatures are random, so a released file is not regenerated. The keys have no other use.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from ugsd_privacy.keys.manifest import KeyManifest, ManifestKey, sign
from ugsd_privacy.keys.root import RootKey
from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey

VECTOR = Path(__file__).with_name("manifest-v1.json")


def seed(name: str) -> bytes:
    return sha256(name.encode()).digest()


def public(name: str) -> VerifierPublicKey:
    mlkem = MLKEM768PrivateKey.from_seed_bytes(seed(f"{name} d") + seed(f"{name} z"))
    return VerifierKey(mlkem, X25519PrivateKey.from_private_bytes(seed(f"{name} x"))).public


def main() -> None:
    root = RootKey(
        Ed25519PrivateKey.from_private_bytes(seed("root ed25519")),
        MLDSA65PrivateKey.from_seed_bytes(seed("root ml-dsa")),
    )
    manifest = KeyManifest(
        serial=24,
        issued_s=1_800_000_000,
        expires_s=1_807_776_000,
        keys=(
            ManifestKey(
                public=public("old").raw, not_before_s=1_790_000_000, not_after_s=1_802_592_000
            ),
            ManifestKey(
                public=public("new").raw, not_before_s=1_800_000_000, not_after_s=1_807_776_000
            ),
        ),
    )
    fields = manifest.model_dump()
    fields["keys"] = [key | {"public": key["public"].hex()} for key in fields["keys"]]
    vector = {
        "pin": root.public.pin.to_text(),
        "signed": sign(manifest, root),
        "manifest": fields,
    }
    VECTOR.write_text(json.dumps(vector, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
