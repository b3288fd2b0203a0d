"""KubeRay: one RayJob that makes its cluster, searches and takes the cluster down, or a RayCluster that stays.

Field names are those of KubeRay's ray.io/v1 (1.6 and later, which `authOptions.secretName` needs).
"""

import shlex
from typing import Any

import yaml

from cluster.manifests.order import CACHE, HEAD_MEMORY_GB, IDLE_MINUTES, Machine, Order, as_yaml, ray_version

CPU = Machine("a node labelled fertune=cpu", 16, 0, 32)
GPU = Machine("a node labelled fertune=gpu", 8, 1, 32)
SECRET = "fertune-token"  # noqa: S105 (the name of the secret, not the token)
_ACCOUNT = "fertune"
_COMMENT = """Written by `fertune cluster manifest --target kuberay`; docs/cloud-kuberay.md walks through it.
The token is the key auth_token of the secret fertune-token. Nothing is exposed outside the Kubernetes cluster."""


def files(order: Order) -> dict[str, str]:
    """`rayjob.yaml` and `raycluster.yaml`, by name."""
    shared = [_config_map(order), _network_policy(order)]
    return {
        "rayjob.yaml": as_yaml([*shared, _job(order)], _COMMENT),
        "raycluster.yaml": as_yaml([*shared, _cluster(order)], _COMMENT),
    }


def _job(order: Order) -> dict[str, Any]:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": order.name},
        "spec": {
            "entrypoint": shlex.join(order.command),
            "submissionMode": "K8sJobMode",
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 60 * IDLE_MINUTES,
            "backoffLimit": 3,  # a lost head: another cluster, where the run goes on
            "rayClusterSpec": _spec(order),
            "submitterPodTemplate": {
                "metadata": {"labels": {"app": "fertune"}},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "submitter", "image": order.image, "resources": _amount(1, 2)}],
                },
            },
        },
    }


def _cluster(order: Order) -> dict[str, Any]:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": order.name},
        "spec": _spec(order),
    }


def _spec(order: Order) -> dict[str, Any]:
    return {
        "rayVersion": ray_version(),
        "authOptions": {"mode": "token", "secretName": SECRET},
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {"idleTimeoutSeconds": 60 * IDLE_MINUTES, "upscalingMode": "Default"},
        "headGroupSpec": {
            "serviceType": "ClusterIP",
            "rayStartParams": {"num-cpus": "0"},  # no trial runs on the head
            "template": _pod(order, "ray-head", Machine("head", 2, 0, HEAD_MEMORY_GB), {}),
        },
        "workerGroupSpecs": [
            {
                "groupName": name,
                "replicas": 0,
                "minReplicas": 0,
                "maxReplicas": most,
                "rayStartParams": {},
                "template": _pod(order, "ray-worker", machine, _spot(name)),
            }
            for name, (machine, most) in order.workers(CPU, GPU).items()
        ],
    }


def _spot(group: str) -> dict[str, Any]:
    """Workers run on the nodes that docs/cloud-kuberay.md has made: spot ones, which only they tolerate."""
    return {
        "nodeSelector": {"fertune": group},
        "tolerations": [
            {"key": "fertune", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        ],
    }


def _pod(order: Order, name: str, machine: Machine, placement: dict[str, Any]) -> dict[str, Any]:
    resources = _amount(machine.cpus, machine.memory)
    if machine.gpus:
        resources["limits"]["nvidia.com/gpu"] = str(machine.gpus)
    environment = {"FERTUNE_CACHE": CACHE, **order.environment}
    return {
        "metadata": {"labels": {"app": "fertune"}},
        "spec": {
            "serviceAccountName": _ACCOUNT,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000},
            **placement,
            "containers": [
                {
                    "name": name,
                    "image": order.image,
                    "env": [{"name": key, "value": value} for key, value in environment.items()],
                    "resources": resources,
                    "volumeMounts": [
                        {"name": "plan", "mountPath": "/etc/fertune"},
                        {"name": "cache", "mountPath": CACHE},
                        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 (where Ray keeps its objects)
                    ],
                }
            ],
            "volumes": [
                {"name": "plan", "configMap": {"name": _plan_of(order)}},
                {"name": "cache", "emptyDir": {}},
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
            ],
        },
    }


def _amount(cpus: int, memory: int) -> dict[str, dict[str, str]]:
    return {
        "limits": {"cpu": str(cpus), "memory": f"{memory}Gi"},
        "requests": {"cpu": str(cpus), "memory": f"{memory}Gi"},
    }


def _plan_of(order: Order) -> str:
    """The name of the plan's ConfigMap: two searches in a namespace have two."""
    return f"{order.name}-plan"


def _config_map(order: Order) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": _plan_of(order)},
        "data": {"plan.yaml": yaml.safe_dump(dict(order.plan), sort_keys=False)},
    }


def _network_policy(order: Order) -> dict[str, Any]:
    """Only the pods of the search and KubeRay's operator may talk to them."""
    friends = [
        {"podSelector": {"matchLabels": {"app": "fertune"}}},
        {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}}},
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": order.name},
        "spec": {
            "podSelector": {"matchLabels": {"app": "fertune"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": friends}],
        },
    }
