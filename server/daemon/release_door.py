"""The newest release for each home of the fleet that asks for it, and for nobody else.

A home that has missed releases gets their manifests too, so that it can walk the chain; and every
home gets the server's word on what is newest.
"""

from __future__ import annotations

from fedhome.fleet.release_request import MOST_MISSED, Fetch, ReleaseResponse
from fedhome.server.daemon.home_marks import HomeMarks
from fedhome.server.daemon.newest import Newest


class ReleaseDoor:
    """Answers homes that ask for a model.

    Args:
        newest: What is newest at this server.
        marks: How far the homes' states had come.
    """

    def __init__(self, newest: Newest, marks: HomeMarks) -> None:
        self._newest, self._marks = newest, marks

    def answer(self, body: bytes) -> bytes:
        """Return the newest release, and the manifests of those that a home has missed.

        Args:
            body: As `fedhome.fleet.release_request.Fetch.sign` wrote it.

        Returns:
            A `ReleaseResponse`, without a release for a home that has the newest one.

        Raises:
            SecAggError: No request that a home of the fleet signed just now; ``rolled-back``: of
                one whose state is older than before; or the server cannot say what is newest.
            RegistryError: The registry cannot be read.
        """
        directory = self._newest.directory()
        fetch = Fetch.verify(body, directory)
        self._marks.check(fetch.home, fetch.saves, directory)
        # Once: what is said to be the newest and what is handed over are the same.
        freshness, newest = self._newest.statement(), self._newest.release()
        moved = self._newest.move()
        if newest is None or newest.hash == fetch.have:
            nothing = ReleaseResponse(freshness=freshness, missed=(), release=b"", moved=moved)
            return nothing.to_bytes()
        # A home that knows none begins with the newest.
        first, last = fetch.seen + 1, newest.number - 1 if fetch.seen else 0
        enough = last < first + MOST_MISSED
        return ReleaseResponse(
            freshness=freshness,
            missed=newest.missed(first, last if enough else first + MOST_MISSED - 1),
            release=newest.package() if enough else b"",
            moved=moved,
        ).to_bytes()
