"""What can change of each kind at the provider, and what events say of it.

A new kind adds an entry: `test_kinds.py` names the fields that it lacks, `test_every_kind.py` tries it out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from contracts.kinds import ResourceKind

Json = dict[str, Any]
Change = Json | Callable[[Json, int], Json]
"""What to put into a row's JSON, or how to make that of the row and a droplet's id."""

_FRA1 = {"name": "Frankfurt 1", "slug": "fra1", "features": [], "available": True, "sizes": []}


@dataclass(frozen=True)
class Changes:
    """`meaningful`: by the fields that an event names, the change that makes it; `meaningless`: one without an event.

    `family` is its name at the stand-in. `fixed`: fields that no row changes, and why not. `noticed_by`: what has to
    come beside it for a change to be noticed.
    """

    family: str
    meaningful: dict[tuple[str, ...], Change]
    meaningless: Change
    fixed: dict[str, str] = field(default_factory=dict)
    noticed_by: Callable[[Json], Json] | None = None

    def fields(self) -> set[str]:
        """All fields that an event can name."""
        return {name for names in self.meaningful for name in names} | self.fixed.keys()


MEASURED = ("region", "attrs.size_bytes", "attrs.size_gb", "attrs.objects", "attrs.size_unknown")
_SIZE = {"slug": "s-8vcpu-16gb", "price_monthly": 96.0}

CHANGES: dict[ResourceKind, Changes] = {
    ResourceKind.DROPLET: Changes(
        "droplets",
        {
            ("name",): {"name": "renamed-01"},
            ("region",): {"region": _FRA1},
            ("state",): {"status": "off"},
            ("size_slug",): {"size_slug": "s-8vcpu-16gb", "size": _SIZE},
            ("tags",): {"tags": ["blue"]},
            ("attrs.vcpus",): {"vcpus": 16},
            ("attrs.memory_mb",): {"memory": 512},
            ("attrs.disk_gb",): {"disk": 1000},
            ("attrs.gpu",): {"gpu_info": {"count": 8, "model": "nvidia_h100"}},
            ("attrs.image_id",): {"image": {"id": 7, "slug": "debian-13-x64"}},
            ("attrs.vpc_uuid",): {"vpc_uuid": "5a4981aa-9653-4bd1-bef5-d6bff52042e4"},
            ("attrs.private_ipv4", "attrs.public_ipv4"): {
                "networks": {
                    "v4": [
                        {"ip_address": "192.0.2.7", "type": "public"},
                        {"ip_address": "10.116.0.1", "type": "private"},
                    ],
                    "v6": [],
                }
            },
            ("attrs.private_ipv4", "attrs.public_ipv4", "attrs.public_ipv6"): {
                "networks": {
                    "v4": [{"ip_address": "10.9.9.9", "type": "private"}],
                    "v6": [{"ip_address": "2001:db8::9", "type": "public"}],
                }
            },
            ("attrs.features",): {"features": ["ipv6"]},
            ("attrs.volume_ids",): {"volume_ids": ["506f78a4-e098-11e5-ad9f-000f53306ae1"]},
            ("attrs.created_at",): {"created_at": "2020-07-21T18:37:44Z"},
        },
        {"next_backup_window": {"start": "2026-06-01T00:00:00Z"}, "snapshot_ids": [1], "size": _SIZE, "locked": True},
    ),
    ResourceKind.VOLUME: Changes(
        "volumes",
        {
            ("name",): {"name": "renamed"},
            ("region",): {"region": _FRA1},
            ("tags",): {"tags": ["blue"]},
            ("attrs.size_gb",): {"size_gigabytes": 1000},
            ("attrs.droplet_ids", "state"): lambda _, droplet: {"droplet_ids": [droplet]},
            ("attrs.description",): {"description": "another"},
            ("attrs.filesystem_type",): {"filesystem_type": "xfs"},
            ("attrs.filesystem_label",): {"filesystem_label": "data"},
            ("attrs.created_at",): {"created_at": "2020-03-02T17:00:49Z"},
        },
        {"region": {"slug": "nyc3", "name": "New York Three", "available": False}},
    ),
    ResourceKind.SNAPSHOT: Changes(
        "snapshots",
        {
            ("name",): {"name": "renamed"},
            ("attrs.regions", "region"): {"regions": ["ams3", "nyc3"]},
            ("attrs.regions",): {"regions": ["sfo3", "nyc3"]},
            ("tags",): {"tags": ["blue"]},
            ("attrs.size_gb",): {"size_gigabytes": 40.5},
            ("attrs.min_disk_gb",): {"min_disk_size": 160},
            ("attrs.created_at",): {"created_at": "2020-07-28T16:47:44Z"},
            ("parent",): {"resource_id": "99"},
        },
        {"a field of tomorrow": True},
    ),
    ResourceKind.DROPLET_BACKUP: Changes(
        "backups",
        {
            ("name",): {"name": "renamed"},
            ("attrs.regions", "region"): {"regions": ["ams3", "nyc3"]},
            ("attrs.size_gb",): {"size_gigabytes": 40.5},
            ("attrs.min_disk_gb",): {"min_disk_size": 160},
            ("attrs.created_at",): {"created_at": "2020-07-29T01:44:35Z"},
        },
        {"type": "another"},
        # That a backup is there, its droplet's row tells; what it is, only a listing, when the droplet has a new one.
        noticed_by=lambda row: {"droplet_id": row["droplet_id"]},
    ),
    ResourceKind.DNS_ZONE: Changes(
        "domains",
        {("attrs.ttl",): {"ttl": 60}},
        {"zone_file": "$ORIGIN another"},
        {"name": "it is the identity"},
    ),
    ResourceKind.SPACES_BUCKET: Changes(
        "buckets",
        {},
        {},
        {"name": "it is the identity"} | dict.fromkeys(MEASURED, "a measurement changes it: test_spaces.py"),
    ),
    ResourceKind.RESERVED_IP: Changes(
        "reserved_ips",
        {
            ("region",): {"region": _FRA1},
            ("attrs.droplet_id", "state"): lambda _, droplet: {"droplet_id": droplet},
        },
        {"locked": True},
        {"name": "it is the identity"},
    ),
    ResourceKind.LOAD_BALANCER: Changes(
        "load_balancers",
        {
            ("name",): {"name": "renamed"},
            ("region",): {"region": None},
            ("state",): {"status": "errored"},
            ("size_slug",): {"size": "lb-large"},
            ("attrs.ip",): {"ip": "198.51.100.77"},
            ("attrs.type",): {"type": "REGIONAL_NETWORK"},
            ("attrs.network",): {"network": "INTERNAL"},
            ("attrs.size_unit",): {"size_unit": 5},
            ("attrs.algorithm",): {"algorithm": "least_connections"},
            ("attrs.forwarding_rules",): {"forwarding_rules": []},
            ("attrs.health_check",): {"health_check": {"protocol": "tcp", "port": 22}},
            ("attrs.sticky_sessions",): {"sticky_sessions": {"type": "cookies"}},
            ("attrs.redirect_http_to_https",): {"redirect_http_to_https": True},
            ("attrs.enable_proxy_protocol",): {"enable_proxy_protocol": True},
            ("attrs.firewall",): {"firewall": {"allow": ["ip:192.0.2.1"], "deny": []}},
            ("attrs.vpc_uuid",): {"vpc_uuid": "c33931f2-a26a-4e61-b85c-4e95a2ec431b"},
            ("attrs.droplet_ids",): lambda _, droplet: {"droplet_ids": [droplet]},
            ("attrs.target_tag",): {"tag": "web"},
            ("attrs.created_at",): {"created_at": "2017-02-01T22:22:58Z"},
        },
        {"http_idle_timeout_seconds": 90},
        {"tags": "the reference has none; those of DOKS are in recorded.py"},
    ),
    ResourceKind.DATABASE: Changes(
        "databases",
        {
            ("name",): {"name": "renamed"},
            ("region",): {"region": "fra1"},
            ("state",): {"status": "resizing"},
            ("size_slug",): {"size": "db-s-4vcpu-8gb"},
            ("tags",): {"tags": ["blue"]},
            ("attrs.engine",): {"engine": "mysql"},
            ("attrs.version",): {"version": "18"},
            ("attrs.num_nodes",): {"num_nodes": 3},
            ("attrs.storage_mb",): {"storage_size_mib": 102_400},
            ("attrs.vpc_uuid",): {"private_network_uuid": "d455e75d-4858-4eec-8c95-da2f0a5f93a7"},
            ("attrs.db_names",): {"db_names": ["defaultdb", "app"]},
            ("attrs.trusted_sources",): {"rules": [{"uuid": "1", "type": "ip_addr", "value": "192.0.2.1"}]},
            ("attrs.maintenance_window",): {"maintenance_window": {"day": "sunday", "hour": "02:00:00"}},
            ("attrs.created_at",): {"created_at": "2019-01-11T18:37:36Z"},
        },
        {
            "semantic_version": "17.3",
            "users": [{"name": "new", "password": "another"}],
            "connection": {"password": "another"},
            "version_end_of_life": "2030-01-01T00:00:00Z",
        },
    ),
    ResourceKind.KUBERNETES_CLUSTER: Changes(
        "kubernetes_clusters",
        {
            ("name",): {"name": "renamed"},
            ("region",): {"region": "fra1"},
            ("state",): {"status": {"state": "degraded", "message": ""}},
            ("tags",): {"tags": ["k8s", "blue"]},
            ("attrs.version",): {"version": "1.34.0-do.0"},
            ("attrs.node_pools",): {"node_pools": []},
            ("attrs.ha",): {"ha": True},
            ("attrs.auto_upgrade",): {"auto_upgrade": True},
            ("attrs.surge_upgrade",): {"surge_upgrade": False},
            ("attrs.maintenance_policy",): {"maintenance_policy": {"day": "sunday", "start_time": "02:00"}},
            ("attrs.vpc_uuid",): {"vpc_uuid": "c33931f2-a26a-4e61-b85c-4e95a2ec431b"},
            ("attrs.cluster_subnet",): {"cluster_subnet": "192.168.0.0/20"},
            ("attrs.service_subnet",): {"service_subnet": "192.168.16.0/24"},
            ("attrs.endpoint",): {"endpoint": "https://other.k8s.ondigitalocean.com"},
            ("attrs.created_at",): {"created_at": "2018-11-15T16:00:11Z"},
        },
        {"status": {"state": "running", "message": "all is well"}, "updated_at": "2026-06-01T00:00:00Z"},
    ),
    ResourceKind.VPC: Changes(
        "vpcs",
        {
            ("name",): {"name": "renamed"},
            ("region",): {"region": "fra1"},
            ("attrs.ip_range",): {"ip_range": "10.10.10.0/24"},
            ("attrs.description",): {"description": "another"},
            ("attrs.default",): {"default": True},
            ("attrs.created_at",): {"created_at": "2020-03-13T19:20:47.442049222Z"},
        },
        {"urn": "do:vpc:another"},
    ),
    ResourceKind.FIREWALL: Changes(
        "firewalls",
        {
            ("name",): {"name": "renamed"},
            ("state",): {"status": "failed"},
            ("attrs.inbound_rules",): {"inbound_rules": []},
            ("attrs.outbound_rules",): {"outbound_rules": []},
            ("attrs.droplet_ids",): lambda _, droplet: {"droplet_ids": [droplet]},
            ("attrs.target_tags",): {"tags": ["web"]},
            ("attrs.created_at",): {"created_at": "2020-05-23T21:24:00Z"},
        },
        {"pending_changes": [{"droplet_id": 1, "removing": False, "status": "waiting"}]},
    ),
    ResourceKind.APP: Changes(
        "apps",
        {
            ("name",): lambda row, _: {"spec": {**row["spec"], "name": "renamed"}},
            ("region",): {"region": {"slug": "ams"}},
            ("state",): lambda row, _: {"active_deployment": {**row["active_deployment"], "phase": "ERROR"}},
            ("size_slug",): {"tier_slug": "professional"},
            ("attrs.components",): lambda row, _: {"spec": {**row["spec"], "services": []}},
            ("attrs.domains",): lambda row, _: {"spec": {**row["spec"], "domains": [{"domain": "a.example"}]}},
            ("attrs.live_domain",): {"live_domain": "a.example"},
            ("attrs.vpc_uuid",): {"vpc": {"id": "c33931f2-a26a-4e61-b85c-4e95a2ec431b"}},
            ("attrs.created_at",): {"created_at": "2021-02-10T17:05:30Z"},
        },
        {
            "updated_at": "2026-06-01T00:00:00Z",
            "last_deployment_created_at": "2026-06-01T00:00:00Z",
            "active_deployment": {"id": "another", "phase": "ACTIVE"},
        },
    ),
    ResourceKind.CONTAINER_REGISTRY: Changes(
        "registries",
        {
            ("region",): {"region": "sfo3"},
            ("size_slug",): {"subscription": {"tier": {"slug": "professional", "monthly_price_in_cents": 2000}}},
            ("attrs.created_at",): {"created_at": "2020-03-21T16:02:37Z"},
        },
        {"storage_usage_bytes": 1, "storage_usage_bytes_updated_at": "2026-06-01T00:00:00.530562231Z"},
        {"name": "it is the identity"},
    ),
}
