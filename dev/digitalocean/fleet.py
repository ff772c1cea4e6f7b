"""A fleet to begin with: tenants' projects and their droplets, which look like an agency's and follow from the seed."""

from __future__ import annotations

from random import Random

from dev.digitalocean.catalog import IMAGES, REGIONS, SIZES
from dev.digitalocean.droplet_create import Order, add_droplet
from dev.digitalocean.families import FAMILIES
from dev.digitalocean.fleet_of_others import add_others
from dev.digitalocean.projects import add_project
from dev.digitalocean.settings import Settings
from dev.digitalocean.state import Project, World

TENANTS = (
    "acme", "globex", "initech", "umbra", "hooli", "stark", "wayne", "tyrell", "cyberdyne", "soylent", "vandelay",
    "wonka", "dunder", "pied-piper", "massive", "aperture", "oscorp", "nakatomi", "monarch", "sirius", "weyland",
    "gringotts", "duff", "bluth", "prestige", "sterling", "paper-street", "genco", "virtucon", "rekall",
)  # fmt: skip
ROLES = ("web", "web", "web", "api", "api", "worker", "worker", "db", "cache", "queue", "cron", "edge", "ci", "bastion")
PLANS = (
    "s-1vcpu-1gb", "s-1vcpu-1gb", "s-1vcpu-2gb", "s-1vcpu-2gb", "s-2vcpu-2gb", "s-2vcpu-4gb", "s-2vcpu-4gb",
    "s-4vcpu-8gb", "c-2", "g-2vcpu-8gb", "m-2vcpu-16gb",
)  # fmt: skip
PLACES = ("nyc3", "nyc3", "fra1", "fra1", "ams3", "sfo3", "sgp1", "lon1", "syd1", "blr1", "tor1")
SYSTEMS = ("ubuntu-24-04-x64", "ubuntu-24-04-x64", "ubuntu-22-04-x64", "debian-12-x64", "rockylinux-9-x64")
STAGES = ("production", "production", "production", "staging", "development")
FEATURES = (
    ("monitoring", "droplet_agent", "private_networking"),
    ("backups", "monitoring", "droplet_agent", "private_networking"),
    ("ipv6", "droplet_agent", "private_networking"),
)
TWO_YEARS = 730 * 86_400


def found_world(settings: Settings) -> World:
    """A world with the fleet that the settings ask for: the same for the same seed, down to the times."""
    world = World(settings, FAMILIES)
    rng = Random(settings.seed)
    projects = _add_projects(world)
    for _ in range(settings.droplets):
        _add_droplet(world, rng, _home(rng, projects), rng.choice(PLANS), rng.choice(PLACES))
    for _ in range(settings.gpus):
        _add_droplet(world, rng, _home(rng, projects), "gpu-h100x1-80gb", rng.choice(("tor1", "atl1")))
    add_others(world, rng, projects)
    world.clock.run_at(settings.speed)
    return world


def tenant_names(count: int) -> list[str]:
    """So many tenants; past the known ones they are numbered."""
    return [
        TENANTS[n] if n < len(TENANTS) else f"{TENANTS[n % len(TENANTS)]}-{n // len(TENANTS) + 1}" for n in range(count)
    ]


def _add_projects(world: World) -> list[Project]:
    purpose = "Operational / Developer tooling"
    projects = [add_project(world, "arcadia", purpose=purpose, environment="Production", is_default=True)]
    for tenant in tenant_names(world.settings.projects - 1):
        about = f"Apps of {tenant}"
        projects.append(add_project(world, f"tenant-{tenant}", purpose="Web Application", description=about))
    return projects


def _home(rng: Random, projects: list[Project]) -> Project:
    """One in twenty was never put into a project and is in the default one."""
    return projects[0] if len(projects) == 1 or rng.random() < 0.05 else rng.choice(projects[1:])


def _add_droplet(world: World, rng: Random, project: Project, size: str, place: str) -> None:
    role, stage = rng.choice(ROLES), rng.choice(STAGES)
    tenant = project.name.removeprefix("tenant-")
    tags = (f"env:{stage}", role, f"app:{tenant}") if rng.random() < 0.9 else ()
    region = REGIONS[place]
    name = f"{role}-{rng.randint(1, 40):02d}"
    order = Order(
        names=(name,),
        size=SIZES[size],
        image=IMAGES["gpu-h100x1-base" if size.startswith("gpu") else rng.choice(SYSTEMS)],
        region=region,
        tags=tags,
        features=rng.choice(FEATURES),
        public=rng.random() < 0.95,
        vpc_uuid=world.default_vpc(region),
        project=project,
        fails=False,
    )
    droplet = add_droplet(world, order, name)
    droplet.status = "active" if rng.random() < 0.95 else "off"
    droplet.created_at -= rng.random() * TWO_YEARS
