"""What a plan may be and is hardly meant to be: told once, where a fault would be too much."""

from __future__ import annotations

from fedhome.plan.settings import Plan


def notes_on(plan: Plan) -> list[str]:
    """Return what is worth knowing about a plan that holds, in plain sentences.

    Args:
        plan: The plan.
    """
    return [note for note in (_proximal(plan),) if note]


def _proximal(plan: Plan) -> str:
    """FedProx with no pull (Li et al. 2020, section 3.2: mu = 0 is FedAvg).

    Flower's FedProx sends its own ``proximal_mu`` in every round, in place of the homes' setting.
    """
    if plan.strategy.name.lower() != "fedprox":
        return ""
    sent, own = plan.strategy.args.get("proximal_mu") or 0.0, plan.train.proximal_mu
    if not sent:
        overruled = f", and overrules train.proximal_mu = {own}" if own else ""
        wanted = f"= {own}" if own else "above 0"
        return (
            f"strategy fedprox with strategy.args.proximal_mu = 0 is fedavg{overruled}: set "
            f"strategy.args.proximal_mu {wanted}, or name fedavg"
        )
    if own and own != sent:
        return (
            f"strategy fedprox sends strategy.args.proximal_mu = {sent} to the homes, which "
            f"overrules train.proximal_mu = {own}: set one of them alone"
        )
    return ""
