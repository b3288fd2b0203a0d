"""`ray up` on AWS and GCP: a head without trials, workers on spot machines that come and go with the trials."""

from collections.abc import Mapping
from shlex import quote
from typing import Any

from cluster.manifests.order import CACHE, IDLE_MINUTES, JOBS_PORT, RAY_PORT, Machine, Order, as_yaml

AWS = {
    "head": Machine("m7i.xlarge", 4, 0, 16),
    "cpu": Machine("c7i.4xlarge", 16, 0, 32),
    "gpu": Machine("g6.2xlarge", 8, 1, 32),
}
GCP = {
    "head": Machine("n2-standard-4", 4, 0, 16),
    "cpu": Machine("n2-standard-16", 16, 0, 64),
    "gpu": Machine("g2-standard-8", 8, 1, 32),
}
_TOKEN = "/home/ray/.ray/auth_token"  # noqa: S105 (its path)
_SETTINGS = "RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0"
_DISK_GB = 100
_COMMENT = """Written by `fertune cluster manifest --target {target}`; docs/cloud-{target}.md walks through it.
The token is this machine's ~/.ray/auth_token. Only ssh reaches the cluster from outside: the dashboard and the
Jobs endpoint listen on the head's loopback. Values in capitals are yours to fill in."""


def files(order: Order, target: str) -> dict[str, str]:
    """`aws.yaml` or `gcp.yaml`, by name."""
    made = _aws(order) if target == "aws" else _gcp(order)
    return {f"{target}.yaml": as_yaml([made], _COMMENT.format(target=target))}


def _aws(order: Order) -> dict[str, Any]:
    def node(machine: Machine, spot: bool) -> dict[str, Any]:
        disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": _DISK_GB, "VolumeType": "gp3"}}
        market = {"InstanceMarketOptions": {"MarketType": "spot"}} if spot else {}
        return {
            "InstanceType": machine.name,
            "ImageId": "AMI_WITH_DOCKER_AND_NVIDIA_DRIVER",
            "BlockDeviceMappings": [disk],
            "IamInstanceProfile": {"Arn": "INSTANCE_PROFILE_THAT_MAY_USE_THE_BUCKET"},
            **market,
        }

    provider = {"type": "aws", "region": "us-west-2", "cache_stopped_nodes": False}
    return _cluster(order, provider, {name: (machine, node(machine, name != "head")) for name, machine in AWS.items()})


def _gcp(order: Order) -> dict[str, Any]:
    def node(machine: Machine, spot: bool) -> dict[str, Any]:
        disk = {"diskSizeGb": _DISK_GB, "sourceImage": "IMAGE_WITH_DOCKER_AND_NVIDIA_DRIVER"}
        scheduling: dict[str, Any] = {"onHostMaintenance": "TERMINATE"} if machine.gpus else {}
        if spot:
            scheduling = {**scheduling, "provisioningModel": "SPOT", "instanceTerminationAction": "DELETE"}
        return {
            "machineType": machine.name,
            "disks": [{"boot": True, "autoDelete": True, "type": "PERSISTENT", "initializeParams": disk}],
            "serviceAccounts": [
                {
                    "email": "SERVICE_ACCOUNT_THAT_MAY_USE_THE_BUCKET",
                    "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
                }
            ],
            **({"scheduling": scheduling} if scheduling else {}),
        }

    provider = {
        "type": "gcp",
        "region": "us-west1",
        "availability_zone": "us-west1-a",
        "project_id": "YOUR_PROJECT",
        "cache_stopped_nodes": False,
    }
    return _cluster(order, provider, {name: (machine, node(machine, name != "head")) for name, machine in GCP.items()})


def _cluster(
    order: Order, provider: dict[str, Any], nodes: Mapping[str, tuple[Machine, dict[str, Any]]]
) -> dict[str, Any]:
    groups = order.workers(nodes["cpu"][0], nodes["gpu"][0])
    types: dict[str, Any] = {"head": {"resources": {"CPU": 0}, "node_config": nodes["head"][1]}}
    for name, (machine, most) in groups.items():
        amount = {"CPU": machine.cpus, **({"GPU": machine.gpus} if machine.gpus else {})}
        types[name] = {"resources": amount, "min_workers": 0, "max_workers": most, "node_config": nodes[name][1]}
    return {
        "cluster_name": order.name,
        "max_workers": sum(most for _, most in groups.values()),
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": IDLE_MINUTES,
        "docker": _docker(order),
        "provider": provider,
        "auth": {"ssh_user": "ubuntu"},
        "available_node_types": types,
        "head_node_type": "head",
        "file_mounts": {_TOKEN: "~/.ray/auth_token"},
        "initialization_commands": [],
        "setup_commands": [f"chmod 600 {_TOKEN}"],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [
            "ray stop",
            f"{_SETTINGS} ray start --head --port={RAY_PORT} --num-cpus=0 --dashboard-host=127.0.0.1 "
            f"--dashboard-port={JOBS_PORT} --autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": ["ray stop", f"{_SETTINGS} ray start --address=$RAY_HEAD_IP:{RAY_PORT}"],
    }


def _docker(order: Order) -> dict[str, Any]:
    environment = {"FERTUNE_CACHE": CACHE, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": _TOKEN, **order.environment}
    return {
        "image": order.image,
        "container_name": "fertune",
        "pull_before_run": True,
        "run_options": ["--shm-size=1g", *(f"--env {quote(f'{name}={value}')}" for name, value in environment.items())],
    }
