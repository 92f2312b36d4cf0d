"""What a home draws for one sum: a one-time key, a secret of its own mask, and their shares."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from fedhome.secagg.bundle import Secrets
from fedhome.secagg.directory import Directory
from fedhome.secagg.sharing import Dealing, hashes_of


@dataclass(frozen=True, kw_only=True, eq=False)
class OneTime:
    """Secrets of one bundle, and the committee's shares of them; **use them for one sum only**.

    Args:
        secrets: Both secrets.
        public: X25519 public key of the one-time key, 32 bytes.
        dealing: The polynomials that share them.
        shares: Each member's shares, uint32 ``[members, secrets, 13]``.
        hashes: Of each member's shares, 32 bytes a member.
    """

    secrets: Secrets = field(repr=False)
    public: bytes
    dealing: Dealing = field(repr=False)
    shares: NDArray[np.uint32] = field(repr=False)
    hashes: bytes

    @classmethod
    def drawn(cls, directory: Directory) -> OneTime:
        """Return new secrets, from the operating system's randomness.

        Args:
            directory: Whose committee gets the shares.
        """
        key = X25519PrivateKey.generate()
        secrets = Secrets(key=key.private_bytes_raw(), blind=os.urandom(32))
        dealing = Dealing.of(secrets.key, secrets.blind, directory.threshold)
        shares = dealing.shares(directory.committee)
        return cls(
            secrets=secrets,
            public=key.public_key().public_bytes_raw(),
            dealing=dealing,
            shares=shares,
            hashes=hashes_of(shares),
        )
