"""A home's own model, fitted anew where other readings of the home count than before.

It needs no server: the fleet's model is the release that lies in the home's folder, and what the
fleet chose for its homes' mixtures lies in the kept one. It replaces the kept one by the rule of
each run (:mod:`fedhome.clients.agent.own_model`), or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fedhome.clients.membership.carried_tier import carried_tier
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.own_models import OwnModels
from fedhome.errors import FedHomeError, RunError, StateError

if TYPE_CHECKING:
    from fedhome.clients.agent.own_model import Verdict
    from fedhome.registry.accept import AcceptedRelease
    from fedhome.run.model_file import Learnt
    from fedhome.wire.layout import Layout

_LATER = "the home's next run learns by what counts now"


def fit_anew(home_folder: HomeFolder, tell: Callable[[str], None]) -> str:
    """Fit a home's own model to the readings that count now, and return what came of it in words.

    Whatever goes wrong, the kept one stays, and the words say why.

    Args:
        home_folder: The home's folder, with its keys.
        tell: Told what it waits for: a device that is hot or busy.
    """
    models = OwnModels(home_folder.path, home_folder.settings.home)
    try:
        kept = models.read()
        if kept is None:
            return f"the home has no model of its own yet; {_LATER}"
        verdict = _fitted(home_folder, kept, tell)
        if verdict.model:
            models.replace(verdict.model, over=kept)
    except FedHomeError as error:
        if isinstance(error, StateError) and error.reason == "in-use":
            return f"no model was fitted anew: {error.message}; {_LATER}"
        why = error.with_hint
        return f"no model was fitted anew: {why}; {_LATER}"
    return verdict.told or "the home's model is the same as before"


def _fitted(home_folder: HomeFolder, kept: bytes, tell: Callable[[str], None]) -> Verdict:
    from fedhome.clients.agent.kept_releases import release_of  # noqa: PLC0415
    from fedhome.clients.agent.own_model import EndedRuns  # noqa: PLC0415
    from fedhome.clients.agent.training_rest import RestLimits, TrainingRest  # noqa: PLC0415
    from fedhome.clients.home import real_home  # noqa: PLC0415 - loads what learns
    from fedhome.clients.membership.method_state import SealedState  # noqa: PLC0415
    from fedhome.clients.own_readings import source_of  # noqa: PLC0415
    from fedhome.learning.personalise.refit import refit  # noqa: PLC0415
    from fedhome.personal.models_file import ModelsFile  # noqa: PLC0415
    from fedhome.plan.learnt_changes import learnt_by  # noqa: PLC0415
    from fedhome.plan.settings import Plan  # noqa: PLC0415

    settings, plan = home_folder.settings, Plan.load(home_folder.plan_path)
    old = ModelsFile(kept, own_code=True)[settings.home]  # sealed by this home's key
    release = release_of(home_folder)
    if release is None:
        raise RunError(
            "there is no release of the fleet's model in the home's folder to begin with",
            hint="its agent fetches the newest one: `fedhome client start HOME`",
        )
    source = source_of(home_folder)
    home = real_home(
        plan,
        source,
        name=settings.home,
        reading=settings.reading,
        states=SealedState(home_folder.path, settings.home),
        tier=carried_tier(home_folder, plan).in_use,
        before_training=TrainingRest(RestLimits.of(settings, plan), tell).wait,
    )
    _check_fits(release, home.device.fleets_layout, learnt_by(plan))
    refit(
        home.device,
        release.model.flat,
        how=home.personaliser,
        settings=plan.personalise,
        weights=old.weights,
        fleet=old.blend,
    )
    called = f"release {release.manifest.number} of {plan.name}, fitted anew"
    return EndedRuns(home, home_folder, source).anew(kept, called=called)


def _check_fits(release: AcceptedRelease, layout: Layout, learnt: Learnt) -> None:
    """Refuse a release of another network than the plan's, or that states something else.

    Raises:
        RunError: It is one.
    """
    if release.model.layout.hash != layout.hash or release.manifest.learnt != learnt:
        raise RunError(
            f"release {release.manifest.number} is no model of this home's plan",
            hint="ask whoever runs the fleet which plan its homes have",
        )
