"""A server's certificate, taken anew when its files change: nobody is disconnected for it.

Who is connected stays so under the certificate of before; the next handshake has the new one.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from fedhome.ops import tls
from fedhome.ops.file_state import file_state

_log = logging.getLogger("fedhome.door")


class CertificateFiles:
    """The key and the certificate in a folder.

    Args:
        folder: As `tls.make_certificates` made it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[tuple[int, ...], ...] = ()
        self._told = ""

    def context(self) -> ssl.SSLContext:
        """Return what handshakes are made with, from the files as they are now.

        Raises:
            OSError: They cannot be read, or are not of each other.
        """
        self._seen = self._state()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / tls.CERTIFICATE, self._folder / tls.KEY)
        context.num_tickets = 0  # homes begin anew, and a ticket is work for whoever asks
        return context

    def renewed(self) -> ssl.SSLContext | None:
        """Return the same once the files have changed; None until then, or while they do not fit.

        Of two files that are replaced, one is new first: they fit when both are.
        """
        if self._state() == self._seen:
            return None
        before = self._seen
        try:
            context = self.context()
        except OSError as error:  # `ssl.SSLError` is one
            self._seen = before  # so that it is tried again
            if str(error) != self._told:
                self._told = str(error)
                _log.warning("the new certificate cannot be used, the old one stays: %s", error)
            return None
        self._told = ""
        _log.info("new handshakes have the new certificate")
        return context

    def _state(self) -> tuple[tuple[int, ...], ...]:
        """Return what changes when a file does."""
        return tuple(file_state(self._folder / name) for name in (tls.KEY, tls.CERTIFICATE))
