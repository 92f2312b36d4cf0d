"""Certificates that are not valid at the time that this machine's clock shows.

A device that has no clock of its own starts in 1970, or where it was switched off, until the
network sets it; every certificate is one of the future then. Which of the two is wrong, the clock
or the certificate, people see by the time that is shown.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping

from fedhome.errors import LinkError
from fedhome.wire.moments import when

# OpenSSL's numbers: X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED.
_SAID: Mapping[int, str] = {9: "is not valid yet", 10: "has expired"}


def clock_or_certificate(error: BaseException, *, now: float | None = None) -> LinkError | None:
    """Return in words that a certificate is not the server's, or not valid now; else None.

    Args:
        error: What a request raised; what it was raised from is looked at, too.
        now: Unix time, s; None: this machine's.

    Returns:
        An error of the reason ``clock``; or ``unreachable``, where another server answers.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            if cause.verify_code not in _SAID:
                return LinkError(
                    "what answers at the server's address shows no certificate of this fleet's "
                    f"server: {cause.verify_message}",
                    reason="unreachable",
                )
            clock = when(time.time() if now is None else now)
            return LinkError(
                f"the server's certificate {_SAID[cause.verify_code]}: it is {clock} here",
                reason="clock",
                hint="if that is wrong, set this clock by the network (NTP), and it goes on by "
                "itself; if it is right, `fedhome server status` there says what is wrong",
            )
        cause = cause.__cause__ or cause.__context__
    return None
