"""Databases, Kubernetes clusters and apps: what the provider runs for its customers, secrets included."""

from __future__ import annotations

from contextlib import suppress

from dev.digitalocean.catalog import IMAGES, REGIONS, SIZES
from dev.digitalocean.clock import stamp
from dev.digitalocean.droplet_create import Order, add_droplet
from dev.digitalocean.droplets import vanish
from dev.digitalocean.family import Family
from dev.digitalocean.http import Answer, Json, Request, Route, answer
from dev.digitalocean.state import Droplet, Thing, World
from dev.digitalocean.things import SECRET, Things


def _connection(host: str, user: str = "doadmin") -> Json:
    password = f"AVNS_{SECRET}"
    return {
        "protocol": "postgresql",
        "uri": f"postgresql://{user}:{password}@{host}:25060/defaultdb?sslmode=require",
        "database": "defaultdb",
        "host": host,
        "port": 25060,
        "user": user,
        "password": password,
        "ssl": True,
    }


def _make_database(world: World, asked: Json) -> Json:
    """The list gives live passwords."""
    name = str(asked.get("name") or f"db-{world.new_ordinal():04d}")
    host = f"{name}-do-user-258992-0.b.db.ondigitalocean.com"
    return {
        "id": world.new_uuid(),
        "name": name,
        "engine": "pg",
        "version": "17",
        "semantic_version": "17.2",
        "num_nodes": 1,
        "size": "db-s-2vcpu-4gb",
        "region": "nyc3",
        "status": "online",
        "created_at": stamp(world.clock.now()),
        "private_network_uuid": world.new_uuid(),
        "tags": [],
        "db_names": ["defaultdb"],
        "connection": _connection(host),
        "private_connection": _connection(f"private-{host}"),
        "standby_connection": _connection(f"replica-{host}"),
        "users": [{"name": "doadmin", "role": "primary", "password": f"AVNS_{SECRET}"}],
        "maintenance_window": {"day": "saturday", "hour": "08:45:12", "pending": False, "description": []},
        "rules": [],
        "version_end_of_life": "2029-11-08T00:00:00Z",
        "storage_size_mib": 61_440,
        "metrics_endpoints": [{"host": host, "port": 9273}],
    } | asked


def _make_cluster(world: World, asked: Json) -> Json:
    """`nodes` says how many workers it gets."""
    id, region = world.new_uuid(), str(asked.get("region", "nyc3"))
    count = int(asked.pop("nodes", 0))
    now = stamp(world.clock.now())
    pool: Json = {
        "id": world.new_uuid(),
        "name": "default-pool",
        "size": "s-2vcpu-4gb",
        "count": count,
        "tags": ["k8s", f"k8s:{id}", "k8s:worker"],
        "labels": None,
        "taints": [],
        "auto_scale": False,
        "min_nodes": 0,
        "max_nodes": 0,
        "nodes": [],
    }
    return {
        "id": id,
        "name": f"k8s-{world.new_ordinal():04d}",
        "region": region,
        "version": "1.33.1-do.0",
        "cluster_subnet": "10.244.0.0/16",
        "service_subnet": "10.245.0.0/16",
        "vpc_uuid": world.default_vpc(REGIONS[region]),
        "ipv4": "",
        "endpoint": f"https://{id}.k8s.ondigitalocean.com",
        "tags": ["k8s", f"k8s:{id}"],
        "node_pools": [pool],
        "maintenance_policy": {"start_time": "15:00", "day": "any"},
        "auto_upgrade": False,
        "status": {"state": "running", "message": ""},
        "created_at": now,
        "updated_at": now,
        "surge_upgrade": True,
        "ha": False,
        "registry_enabled": False,
    } | asked


def _cluster_placed(world: World, thing: Thing, _before: Json) -> None:
    """Each pool has as many workers as it counts; they are droplets, listed among all others."""
    for pool in thing.body["node_pools"]:
        for _ in range(pool["count"] - len(pool["nodes"])):
            pool["nodes"].append(_node(world, _add_worker(world, thing, pool)))
        for node in pool["nodes"][pool["count"] :]:
            _remove_worker(world, node)
        del pool["nodes"][pool["count"] :]


def _add_worker(world: World, cluster: Thing, pool: Json) -> Droplet:
    region = REGIONS[cluster.body["region"]]
    order = Order(
        names=(f"{pool['name']}-{world.new_ordinal():x}",),
        size=SIZES[pool["size"]],
        image=IMAGES["debian-12-x64"],
        region=region,
        tags=tuple(pool["tags"]),
        features=("private_networking",),
        public=True,
        vpc_uuid=cluster.body["vpc_uuid"],
        project=world.default_project(),
        fails=False,
    )
    droplet = add_droplet(world, order, order.names[0])
    droplet.status = "active"
    return droplet


def _node(world: World, droplet: Droplet) -> Json:
    now = stamp(world.clock.now())
    return {
        "id": world.new_uuid(),
        "name": droplet.name,
        "status": {"state": "running"},
        "droplet_id": str(droplet.id),  # a text here
        "created_at": now,
        "updated_at": now,
    }


def _remove_worker(world: World, node: Json) -> None:
    with suppress(KeyError):  # somebody destroyed it by hand
        vanish(world, world.droplets.rows[int(node["droplet_id"])])


def _cluster_gone(world: World, thing: Thing) -> None:
    for pool in thing.body["node_pools"]:
        for node in pool["nodes"]:
            _remove_worker(world, node)


def _get_kubeconfig(world: World, request: Request) -> Answer:
    cluster = CLUSTERS.named(world, request)
    text = f"apiVersion: v1\nkind: Config\nusers:\n- name: {cluster.body['name']}-admin\n  user:\n    token: {SECRET}\n"
    return Answer(200, text.encode(), content_type="application/yaml")


def _make_app(world: World, asked: Json) -> Json:
    name, id, now = f"app-{world.new_ordinal():04d}", world.new_uuid(), stamp(world.clock.now())
    service: Json = {
        "name": "web",
        "instance_size_slug": "apps-s-1vcpu-1gb",
        "instance_count": 1,
        "envs": [{"key": "DATABASE_PASSWORD", "value": SECRET, "scope": "RUN_TIME", "type": "SECRET"}],
        "image": {"registry_type": "DOCKER_HUB", "repository": "web", "registry_credentials": f"acme:{SECRET}"},
        "log_destinations": [{"name": "logs", "datadog": {"endpoint": "https://logs.example", "api_key": SECRET}}],
    }
    return {
        "id": id,
        "owner_uuid": world.owner_uuid,
        "spec": {"name": name, "region": "nyc", "services": [service], "domains": []},
        "default_ingress": f"https://{name}.ondigitalocean.app",
        "live_url": f"https://{name}.ondigitalocean.app",
        "live_domain": f"{name}.ondigitalocean.app",
        "created_at": now,
        "updated_at": now,
        "active_deployment": {"id": world.new_uuid(), "phase": "ACTIVE", "created_at": now},
        "last_deployment_created_at": now,
        "tier_slug": "basic",
        "region": {"slug": "nyc", "label": "New York", "continent": "North America", "data_centers": ["nyc1"]},
    } | asked


def _list_apps(world: World, request: Request) -> Answer:
    """Without any, not even the key is there."""
    given = APPS.all_of(world, request)
    return given if APPS.table(world).rows else answer({})


def _delete_app(world: World, request: Request) -> Answer:
    """The only deletion that answers with a body."""
    app = APPS.named(world, request)
    APPS.remove(world, app)
    return answer({"id": app.id})


def _get_app(world: World, request: Request) -> Answer:
    return answer({"app": APPS.body_of(world, APPS.named(world, request))})


DATABASES = Things(
    "databases", "/v2/databases", "database", _make_database, urn="dbaas", resource_type="database", paginated=False
)
CLUSTERS = Things(
    "kubernetes_clusters", "/v2/kubernetes/clusters", "kubernetes_cluster", _make_cluster, urn="kubernetes",
    placed=_cluster_placed,
)  # fmt: skip
APPS = Things("apps", "", "app", _make_app, urn="app")

FAMILIES: tuple[Family, ...] = (
    DATABASES.family(),
    CLUSTERS.family(Route("GET", "/v2/kubernetes/clusters/{id}/kubeconfig", _get_kubeconfig)),
    APPS.family(
        Route("GET", "/v2/apps", _list_apps),
        Route("GET", "/v2/apps/{id}", _get_app),
        Route("DELETE", "/v2/apps/{id}", _delete_app),
    ),
)
