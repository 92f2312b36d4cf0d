"""What cryptography itself costs on this machine: the floor under every sum with masks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from fedhome.keys.signing import signature_holds
from fedhome.secagg import masks

_CHUNK = 1 << 17  # bytes at a time, which stay in the second-level cache
_KEYS = 64


def median_ms(work: Callable[[], object], runs: int) -> float:
    """Return the processor time of some work, in milliseconds: the median of several runs."""
    spent = []
    for _ in range(runs):
        begin = time.process_time()
        work()
        spent.append(time.process_time() - begin)
    return 1e3 * float(np.median(spent))


def raw_aes_ms(size: int, runs: int) -> float:
    """Return what this many bytes of AES-256-CTR take, as fast as `cryptography` makes them.

    Args:
        size: Bytes: one stream of one key, in chunks that stay in the second-level cache.
        runs: How often this is measured.
    """
    chunk = min(_CHUNK, size)
    zeros, drawn = memoryview(bytes(chunk)), np.empty(chunk + 16, np.uint8)

    def draw() -> None:
        stream = Cipher(algorithms.AES256(bytes(32)), modes.CTR(bytes(16))).encryptor()
        for start in range(0, size, chunk):
            stream.update_into(zeros[: size - start], drawn.data)

    return median_ms(draw, runs)


def mask_shares(vector: NDArray[Any], neighbours: int, runs: int) -> tuple[float, float]:
    """Return how close masks come to raw AES, as shares of its speed on as many bytes.

    Args:
        vector: What is masked, unsigned ``[words]``.
        neighbours: How many homes mask with this one; its own mask comes on top.
        runs: How often this is measured.

    Returns:
        For the keystreams alone, and with their additions to the vector. Alone means the same
        code with additions that do nothing.
    """
    keys = [os.urandom(32) for _ in range(neighbours + 1)]
    raw: list[float] = []
    alone: list[float] = []
    added: list[float] = []
    idle = SimpleNamespace(**{**vars(np), "add": _nothing, "subtract": _nothing})
    for _ in range(runs):  # in turn: what else the machine does meets all three alike
        raw.append(raw_aes_ms(vector.nbytes * len(keys), 1))
        added.append(median_ms(lambda: masks.add_masks(vector, keys[::2], keys[1::2]), 1))
        with patch.object(masks, "np", idle):
            alone.append(median_ms(lambda: masks.add_masks(vector, keys[::2], keys[1::2]), 1))
    floor = float(np.median(raw))
    return floor / float(np.median(alone)), floor / float(np.median(added))


def _nothing(*_: object, out: object) -> None:
    del out


def public_key_us(runs: int) -> tuple[float, float]:
    """Return what one check of an Ed25519 signature costs, and one X25519 exchange, in us."""
    signing, private = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
    public, message = signing.public_key().public_bytes_raw(), os.urandom(200)
    signature = signing.sign(message)
    other = X25519PrivateKey.generate().public_key().public_bytes_raw()

    def check() -> None:
        for _ in range(_KEYS):
            signature_holds(public, signature, message)

    def exchange() -> None:
        for _ in range(_KEYS):
            private.exchange(X25519PublicKey.from_public_bytes(other))

    each = 1e3 / _KEYS
    return median_ms(check, runs) * each, median_ms(exchange, runs) * each
