"""The Ed25519 key that signs checkpoints. All functions block."""

import base64
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from server.adapters.blobs.disk.threads import sync_directory
from server.model.audit.trail import AuditTrailSettings
from server.model.errors import Reason, Unavailable


class SigningKey:
    """A private key. `public` is the raw public key in base64."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = _text(key.public_key().public_bytes_raw())
        self.fingerprint = fingerprint(self.public)

    def sign(self, data: bytes) -> str:
        """Return the signature in base64."""
        return _text(self._key.sign(data))


def signing_key(settings: AuditTrailSettings) -> SigningKey:
    """Return the key of the settings. Raises: Unavailable, as `load_or_create`."""
    if settings.key_seed:
        return SigningKey(Ed25519PrivateKey.from_private_bytes(settings.key_seed))
    return load_or_create(settings.key_file)


def load_or_create(path: Path) -> SigningKey:
    """Return the key in a PEM file, which is created with mode 0600 if it does not exist.

    Raises:
        Unavailable: STORAGE_UNAVAILABLE, the file is not a private Ed25519 key, or cannot be read or created.
    """
    try:
        try:
            return SigningKey(_private(path.read_bytes(), path))
        except FileNotFoundError:
            return SigningKey(_private(_created(path), path))
    except OSError as error:
        raise _unusable(path, f"cannot be used: {error.strerror}") from error


def generated() -> SigningKey:
    """Return a new key that is in no file."""
    return SigningKey(Ed25519PrivateKey.generate())


def is_signed(public: str, data: bytes, signature: str) -> bool:
    """Return whether a signature in base64 is that of the owner of a public key."""
    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True)).verify(
            base64.b64decode(signature, validate=True), data
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def fingerprint(public: str) -> str:
    """Return the name of a public key: the first 32 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(base64.b64decode(public)).hexdigest()[:32]


def public_pem(public: str) -> bytes:
    """Return a public key as PEM."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public))
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_in(pem: bytes) -> str:
    """Return the public key in a PEM text, in base64. Raises: ValueError."""
    key = serialization.load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("The file has no public Ed25519 key.")
    return _text(key.public_bytes_raw())


def _private(pem: bytes, path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise _unusable(path, "is not a private key in PEM format without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _unusable(path, "is not an Ed25519 key")
    return key


def _created(path: Path) -> bytes:
    """Create the file atomically; a concurrent process may be first, then its key is used."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, pem)
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return path.read_bytes()
    finally:
        temporary.unlink()
    sync_directory(path.parent)
    return pem


def _unusable(path: Path, problem: str) -> Unavailable:
    return Unavailable(Reason.STORAGE_UNAVAILABLE, f"The signing key of the audit trail, {path}, {problem}.")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
