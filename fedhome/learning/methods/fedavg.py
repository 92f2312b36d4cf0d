"""FedAvg: McMahan et al., AISTATS 2017, arXiv:1602.05629, algorithm 1.

Home ``k`` begins a round with the server's parameters and takes steps along the gradient of its
own loss; the server takes the mean of what homes learnt, each weighted by its examples::

    w_k <- w_k - eta * grad F_k(w_k),        w <- sum_k n_k / n * w_k

The server half is any strategy, FedAvg's own or another (docs/strategies.md).
"""

from __future__ import annotations

from fedhome.learning.methods.method import Method


class FedAvg(Method):
    """Plain descent: it has no settings."""
