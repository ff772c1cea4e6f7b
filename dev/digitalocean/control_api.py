"""`/_control/...`: look at the truth, change things as by hand, switch faults, move the clock, read the journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dev.digitalocean.clock import stamp
from dev.digitalocean.family import ByHand
from dev.digitalocean.faults import ArmedFault, Fault
from dev.digitalocean.http import Answer, Json, Problem, Request, answer, not_found
from dev.digitalocean.settings import Settings

if TYPE_CHECKING:
    from dev.digitalocean.app import StandIn

ControlHandler = Callable[["StandIn", Request, tuple[str, ...]], Answer]


def control(app: StandIn, request: Request) -> Answer:
    """Answer a control request; a wrong one gets a 422 that says what is wrong with it."""
    _, _, word, *rest = request.path.split("/")
    handler = HANDLERS.get((request.method, word), _families)
    try:
        return handler(app, request, (word, *rest))
    except (TypeError, ValueError) as error:
        raise Problem(422, "unprocessable_entity", str(error)) from None


def _reset(app: StandIn, request: Request, _path: tuple[str, ...]) -> Answer:
    """Begin anew, with the settings of the body in place of those in force; the rest stay."""
    app.reset(_merged(app.settings, request))
    return answer(app.settings.model_dump(mode="json"))


def _merged(settings: Settings, request: Request) -> Settings:
    return Settings.model_validate(settings.model_dump() | (request.json() if request.body else {}))


def _get_settings(app: StandIn, _request: Request, _path: tuple[str, ...]) -> Answer:
    return answer(app.settings.model_dump(mode="json"))


def _patch_settings(app: StandIn, request: Request, _path: tuple[str, ...]) -> Answer:
    """Change settings and keep everything else as it is; `reset` is for those of the fleet."""
    app.change_settings(_merged(app.settings, request))
    return _get_settings(app, request, _path)


def _get_clock(app: StandIn, _request: Request, _path: tuple[str, ...]) -> Answer:
    return answer({"now": stamp(app.world.clock.now()), "speed": app.world.clock.speed})


def _advance_clock(app: StandIn, request: Request, _path: tuple[str, ...]) -> Answer:
    app.world.clock.advance(float(request.json().get("advance", 0)))
    app.world.clock.settle()
    return _get_clock(app, request, _path)


def _get_faults(app: StandIn, _request: Request, _path: tuple[str, ...]) -> Answer:
    return answer({"faults": [_body_of(armed) for armed in app.faults.armed.values()]})


def _arm_fault(app: StandIn, request: Request, _path: tuple[str, ...]) -> Answer:
    return answer(_body_of(app.faults.arm(Fault.model_validate(request.json()))), 201)


def _disarm(app: StandIn, request: Request, path: tuple[str, ...]) -> Answer:
    """One fault by its id, or all of them."""
    if len(path) == 1:
        app.faults.armed.clear()
    elif app.faults.armed.pop(int(path[1]), None) is None:
        raise not_found()
    return _get_faults(app, request, path)


def _body_of(armed: ArmedFault) -> Json:
    return {"id": armed.id, "matched": armed.matched, "struck": armed.struck, "fault": armed.fault.model_dump()}


def _get_journal(app: StandIn, request: Request, _path: tuple[str, ...]) -> Answer:
    """The requests since a time (`since`, in seconds since 1970) to paths that begin with `path`."""
    since, path = float(request.query.get("since", 0)), request.query.get("path", "")
    entries = [entry.model_dump() for entry in app.journal.entries if entry.at >= since and entry.path.startswith(path)]
    return answer({"counts": app.journal.counts, "requests": entries})


def _clear_journal(app: StandIn, _request: Request, _path: tuple[str, ...]) -> Answer:
    app.journal.clear()
    return Answer(204, content_type="")


def _get_created(app: StandIn, _request: Request, _path: tuple[str, ...]) -> Answer:
    """By tag, the droplets that the API ever made with it, whatever became of them."""
    return answer({"created": app.world.created})


def _truth(app: StandIn, _request: Request, _path: tuple[str, ...]) -> Answer:
    world = app.world
    return answer({family.name: family.by_hand.truth(world) for family in world.families.all if family.by_hand})


def _families(app: StandIn, request: Request, path: tuple[str, ...]) -> Answer:
    """`/_control/<family>[/<id>]`, by hand."""
    family = app.world.families.named(path[0])
    if family is None or family.by_hand is None:
        raise not_found()
    id = path[1] if len(path) > 1 else ""
    body = request.json() if request.body else {}
    match request.method:
        case "GET":
            return answer({family.name: family.by_hand.truth(app.world)})
        case "POST":
            return answer(_create(app, family.by_hand, body), 201)
        case "PATCH":
            return answer(family.by_hand.change(app.world, id, body))
        case "DELETE":
            return answer(family.by_hand.delete(app.world, id, body))
    raise not_found()


def _create(app: StandIn, by_hand: ByHand, body: Json) -> Json:
    """As many as `count` says, which is 1 where it says nothing."""
    count = int(body.pop("count", 1))
    return {"rows": [by_hand.create(app.world, "", body) for _ in range(count)]}


HANDLERS: dict[tuple[str, str], ControlHandler] = {
    ("POST", "reset"): _reset,
    ("GET", "settings"): _get_settings,
    ("PATCH", "settings"): _patch_settings,
    ("GET", "clock"): _get_clock,
    ("POST", "clock"): _advance_clock,
    ("GET", "faults"): _get_faults,
    ("POST", "faults"): _arm_fault,
    ("DELETE", "faults"): _disarm,
    ("GET", "requests"): _get_journal,
    ("DELETE", "requests"): _clear_journal,
    ("GET", "created"): _get_created,
    ("GET", "truth"): _truth,
}
