"""Actions: each has a beginning and an end, is alone on its resource, and stays readable for good."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import orjson

from dev.digitalocean.clock import stamp
from dev.digitalocean.family import Family
from dev.digitalocean.http import Answer, Json, Problem, Request, Route, answer, not_found, unprocessable
from dev.digitalocean.paging import page
from dev.digitalocean.state import Action, Droplet, World


def begin(
    world: World,
    droplet: Droplet,
    type: str,
    seconds: float,
    *,
    effect: Callable[[], None],
    error: Callable[[], None] | None = None,
) -> Action:
    """Start an action, at whose end comes `effect`, or `error` where it is given: then the action fails.

    Refused while another one is running on the droplet.
    """
    check_idle(droplet)
    now = world.clock.now()
    action = Action(world.new_action_id(), type, droplet.id, "droplet", droplet.region, now)
    world.actions[action.id] = action
    world.actions_of.setdefault(droplet.id, []).append(action)

    def end() -> None:
        action.status = "errored" if error else "completed"
        action.completed_at = world.clock.now()
        if droplet.event != action.id:
            return  # changed or deleted by hand meanwhile
        droplet.event = None
        lag_behind(world, droplet, {"status": droplet.status, "size_slug": droplet.size.slug, "name": droplet.name})
        (error or effect)()
        droplet.changed()

    droplet.event = action.id
    droplet.changed()
    world.clock.at(now + seconds, end)
    return action


def lag_behind(world: World, droplet: Droplet, before: Json) -> None:
    """Let a droplet be seen as it was before something that is done to it, for as long as effects lag."""
    if lag := world.settings.effect_lag:
        droplet.shown = droplet.shown | before
        world.later(lag, partial(_show, droplet, droplet.shown))


def _show(droplet: Droplet, instead: Json) -> None:
    """Let a droplet be seen as it is, if nothing else is shown in its place by now."""
    if droplet.shown is instead:
        droplet.shown = {}


def check_idle(droplet: Droplet) -> None:
    """Refuse a second action while one is running."""
    if droplet.event is not None or droplet.leaving:
        raise pending()


def pending() -> Problem:
    """What a write to a droplet answers during an action."""
    return unprocessable("Droplet already has a pending event.")


def body_of(action: Action) -> Json:
    """An action as JSON; nothing tells why one has errored."""
    return {
        "id": action.id,
        "status": action.status,
        "type": action.type,
        "started_at": stamp(action.started_at),
        "completed_at": stamp(action.completed_at) if action.completed_at is not None else None,
        "resource_id": action.resource_id,
        "resource_type": action.resource_type,
        "region": orjson.Fragment(action.region.json),
        "region_slug": action.region.slug,
    }


def _list_actions(world: World, request: Request) -> Answer:
    return page(request, "actions", list(reversed(world.actions.values())), body_of)


def _get_action(world: World, request: Request) -> Answer:
    return answer({"action": body_of(named(world, request.params["action"]))})


def named(world: World, id: str) -> Action:
    """The action with this id, whatever became of its resource."""
    action = world.actions.get(int(id)) if id.isdecimal() else None
    if action is None:
        raise not_found()
    return action


FAMILY = Family(
    name="actions",
    routes=(
        Route("GET", "/v2/actions", _list_actions),
        Route("GET", "/v2/actions/{action}", _get_action),
    ),
)
