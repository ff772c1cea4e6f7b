"""Reserved IPs, load balancers, VPCs and firewalls."""

from __future__ import annotations

from dev.digitalocean.clock import stamp
from dev.digitalocean.droplets import body_of as droplet_body
from dev.digitalocean.family import Family
from dev.digitalocean.http import Answer, Json, Problem, Request, Route, no_content
from dev.digitalocean.state import World
from dev.digitalocean.storage import with_droplets_that_are_there
from dev.digitalocean.things import Things, region_of


def _make_reserved_ip(world: World, asked: Json) -> Json:
    """`droplet_id` is for us: the API shows the whole droplet."""
    number = world.new_ordinal()
    # 203.0.113.0/24 is for documentation; what does not fit takes from 100.64.0.0/10, which is nobody's either.
    ip = f"203.0.113.{number}" if number < 256 else f"100.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    region = region_of(asked.pop("region", "nyc3"))
    return {"ip": ip, "region": region, "droplet_id": None, "locked": False, "project_id": "", **asked}


def _show_reserved_ip(world: World, body: Json) -> Json:
    droplet = world.droplets.rows.get(body["droplet_id"])
    project = world.project_of.get(f"do:floatingip:{body['ip']}")
    shown = {name: value for name, value in body.items() if name != "droplet_id"}
    shown["droplet"] = droplet_body(world, droplet) if droplet else None
    return {**shown, "project_id": project.id if project else ""}


def _make_load_balancer(world: World, asked: Json) -> Json:
    slug = asked.pop("region", "nyc3")
    rule = {
        "entry_protocol": "https",
        "entry_port": 443,
        "target_protocol": "http",
        "target_port": 80,
        "certificate_id": "",
        "tls_passthrough": False,
    }
    number = world.new_ordinal()
    return {
        "id": world.new_uuid(),
        "name": f"lb-{number:04d}",
        "ip": f"198.51.100.{number % 256}",
        "size_unit": 1,
        "algorithm": "round_robin",
        "status": "active",
        "created_at": stamp(world.clock.now()),
        "forwarding_rules": [rule],
        "health_check": {"protocol": "http", "port": 80, "path": "/", "check_interval_seconds": 10},
        "sticky_sessions": {"type": "none"},
        "redirect_http_to_https": False,
        "enable_proxy_protocol": False,
        "enable_backend_keepalive": False,
        "http_idle_timeout_seconds": 60,
        "vpc_uuid": "",
        "firewall": {"allow": [], "deny": []},
        "network": "EXTERNAL",
        "type": "REGIONAL" if slug else "GLOBAL",
        "region": region_of(slug) if slug else None,
        "droplet_ids": [],
        "tag": "",
    } | asked


def _make_vpc(world: World, asked: Json) -> Json:
    number = world.new_ordinal()
    id = str(asked.get("id") or world.new_uuid())
    return {
        "id": id,
        "urn": f"do:vpc:{id}",
        "name": f"vpc-{number:04d}",
        "description": "",
        "region": "nyc3",
        "ip_range": f"10.{100 + (number >> 8) % 100}.{number & 255}.0/24",
        "default": False,
        "created_at": f"{stamp(world.clock.now())[:-1]}.442049222Z",
    } | asked


def _delete_vpc(world: World, request: Request) -> Answer:
    vpc = VPCS.named(world, request)
    if vpc.body["default"] or any(droplet.vpc_uuid == vpc.id for droplet in world.droplets.rows.values()):
        raise Problem(403, "forbidden", "Can not delete VPC with members.")
    VPCS.remove(world, vpc)
    return no_content()


def _make_firewall(world: World, asked: Json) -> Json:
    anywhere = {"addresses": ["0.0.0.0/0", "::/0"]}
    return {
        "id": world.new_uuid(),
        "name": f"firewall-{world.new_ordinal():04d}",
        "status": "succeeded",
        "created_at": stamp(world.clock.now()),
        "pending_changes": [],
        "inbound_rules": [{"protocol": "tcp", "ports": "443", "sources": anywhere}],
        "outbound_rules": [{"protocol": "tcp", "ports": "0", "destinations": anywhere}],
        "droplet_ids": [],
        "tags": [],
    } | asked


RESERVED_IPS = Things(
    "reserved_ips", "/v2/reserved_ips", "reserved_ip", _make_reserved_ip, identity="ip", urn="floatingip",
    shown=_show_reserved_ip,
)  # fmt: skip
LOAD_BALANCERS = Things(
    "load_balancers", "/v2/load_balancers", "load_balancer", _make_load_balancer, urn="loadbalancer",
    shown=with_droplets_that_are_there,
)  # fmt: skip
VPCS = Things("vpcs", "/v2/vpcs", "vpc", _make_vpc)
FIREWALLS = Things("firewalls", "/v2/firewalls", "firewall", _make_firewall, shown=with_droplets_that_are_there)

FAMILIES: tuple[Family, ...] = (
    RESERVED_IPS.family(),
    LOAD_BALANCERS.family(),
    VPCS.family(Route("DELETE", "/v2/vpcs/{id}", _delete_vpc)),
    FIREWALLS.family(),
)
