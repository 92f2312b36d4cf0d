"""A home's part in one sum: masks for one upload."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import BundleError, ParameterError
from fedhome.secagg.directory import HomeKeys
from fedhome.secagg.manifest import Manifest
from fedhome.secagg.masks import Mask, add_masks
from fedhome.secagg.sum_messages import Upload
from fedhome.wire.codec import Message


class JoinedSum:
    """A sum that a home takes part in, good for one upload.

    Args:
        manifest: The terms.
        keys: The home's.
        plus: Seeds of the masks that it adds.
        minus: Seeds of the masks that it subtracts.
        mask: How masks of seeds are added; another function is for simulations only.
        write: How the upload is written; as above.
    """

    def __init__(
        self,
        manifest: Manifest,
        keys: HomeKeys,
        plus: list[bytes],
        minus: list[bytes],
        *,
        mask: Mask = add_masks,
        write: Callable[[Message], bytes] = Message.to_bytes,
    ) -> None:
        self.manifest = manifest
        self._keys = keys
        self._seeds: tuple[list[bytes], list[bytes]] | None = (plus, minus)
        self._mask, self._write = mask, write

    def __repr__(self) -> str:
        used = "used" if self._seeds is None else "unused"
        return f"Joined(sum={self.manifest.turn}, {used})"

    def upload(
        self, words: NDArray[np.unsignedinteger[Any]], *, workers: Executor | None = None
    ) -> bytes:
        """Return the home's masked words, signed; **they are masked in place**.

        Args:
            words: One row of what `Form.encode` of the manifest's form returned, ``[words]``.
            workers: Threads that share the work on a long vector.

        Raises:
            ParameterError: Words of another form; the sum can still be joined with the right
                ones.
            BundleError: ``used``: this was called before. Masks that hide two vectors hide
                neither.
        """
        form, manifest = self.manifest.form, self.manifest.digest
        if words.dtype != form.packing.dtype or words.shape != (form.words,):
            raise ParameterError(
                f"{words.dtype} {list(words.shape)} are not the {form.words} words of "
                f"{form.packing.dtype} that the manifest asks for",
                reason="shapes",
            )
        if self._seeds is None:
            raise BundleError("the masks of this sum were used already", reason="used")
        (plus, minus), self._seeds = self._seeds, None
        self._mask(words, plus, minus, workers=workers)
        vector = words.astype(words.dtype.newbyteorder("<"), copy=False).tobytes()
        home = self._keys.home
        bare = Upload(home=home, manifest=manifest, vector=vector, signature=bytes(64))
        return self._write(bare.signed_with(self._keys.sign(bare.statement)))
