"""The paths that the server's front answers itself, beside Flower's own, and how to request them.

Each of these paths takes one POST whose body is signed by its sender; nobody else gets a
response.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping

import httpx

from fedhome.denied import system_words
from fedhome.errors import LinkError
from fedhome.fleet.certificate_times import clock_or_certificate
from fedhome.printable import shown

JOIN, ENROL, LEAVE = "/v1/fedhome/join", "/v1/fedhome/enrol", "/v1/fedhome/leave"
OWNER, RELEASE = "/v1/fedhome/owner", "/v1/fedhome/release"
HEALTH = "/health"

_WAIT_S = 15.0
_MOST_REFUSAL, _MOST_WORDS = 1 << 14, 300  # bytes; characters of each of its three parts
_MOST = 1 << 27  # bytes of a response: a release is half of that at most


def ask(
    address: str,
    authorities: bytes,
    path: str,
    body: bytes,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Post a body to the server's front, and return its response.

    Args:
        address: ``host:port`` of the front.
        authorities: Certificates that the server's is checked against, PEM.
        path: One of this module's.
        body: What is posted.
        headers: What is said before it.

    Raises:
        LinkError: ``unreachable``; ``clock``: the server's certificate is not valid at the time
            that this device's clock shows; or the server's own reason, message and hint.
    """
    try:
        context = ssl.create_default_context(cadata=authorities.decode("ascii"))
        asked = {**(headers or {}), "accept-encoding": "identity"}
        with (
            httpx.Client(verify=context, timeout=_WAIT_S) as client,
            client.stream(
                "POST", f"https://{address}{path}", content=body, headers=asked
            ) as response,
        ):
            content = _read(response)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        if off := clock_or_certificate(error):
            raise off from None
        raise LinkError(
            f"the server at {address} cannot be reached: {system_words(error)}",
            reason="unreachable",
        ) from None
    if response.status_code == httpx.codes.FORBIDDEN:
        raise _refusal(content)
    if not response.is_success:
        raise LinkError(
            f"the server at {address} answers {response.status_code}", reason="unreachable"
        )
    return content


def refusal(reason: str, message: str, hint: str) -> bytes:
    """Return the body of a refusal; words beyond what is read of them are left out."""
    told = {"reason": reason, "message": message, "hint": hint}
    return json.dumps({key: words[:_MOST_WORDS] for key, words in told.items()}).encode()


def _read(response: httpx.Response) -> bytes:
    """Return the body of a response; one without end is cut off.

    What is packed is not unpacked: two kilobytes, packed twice, come to gigabytes in one step.
    """
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ValueError(
            "its answer is packed, and a proxy before it must pass answers as they are"
        )
    most = _MOST if response.is_success else _MOST_REFUSAL
    parts, size = [], 0
    for part in response.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > most:
            raise ValueError(f"its answer is longer than {most} bytes")
    return b"".join(parts)


def _refusal(content: bytes) -> LinkError:
    try:
        fields = json.loads(content)
        told = (str(fields[key])[:_MOST_WORDS] for key in ("reason", "message", "hint"))
        reason, message, hint = map(shown, told)
    except (ValueError, KeyError, TypeError, RecursionError):
        reason, message, hint = "refused", "the server refuses this home", ""
    return LinkError(message, reason=reason, hint=hint)
