"""Keys that follow from one secret, so that programs on several machines need only that in common."""

import base64

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from common.settings import SecretText, keys_of

_KEY_BYTES = 32


def derived_key(secret: str, purpose: str) -> bytes:
    """Return 256 bits for a purpose (RFC 5869); nothing about the secret or other keys follows from them."""
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=f"dicomstore {purpose}".encode()).derive(secret.encode())


def derived_text(secret: str, purpose: str) -> str:
    """Return the same as text."""
    return base64.urlsafe_b64encode(derived_key(secret, purpose)).decode()


def session_keys_of(secret_key: SecretText) -> list[str]:
    """Return the keys for browser sessions that follow from setting `secret_key`; the first one encrypts."""
    return [derived_text(secret, "browser sessions") for secret in keys_of(secret_key)]
