"""What makes a cluster in a cloud: against Ray's own loader and schema, and KubeRay's fields."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from search.manifest import manifest, write
from search.plan import Plan, validate_plan
from spaces.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
RUNS = "s3://bucket/runs"

# The fields of ray.io/v1 that a manifest may use: KubeRay's raycluster_types.go and rayjob_types.go, release 1.6.
CLUSTER_FIELDS = {
    "rayVersion": str,
    "authOptions": dict,
    "enableInTreeAutoscaling": bool,
    "autoscalerOptions": dict,
    "headGroupSpec": dict,
    "workerGroupSpecs": list,
}
JOB_FIELDS = {
    "entrypoint": str,
    "submissionMode": str,
    "shutdownAfterJobFinishes": bool,
    "ttlSecondsAfterFinished": int,
    "backoffLimit": int,
    "rayClusterSpec": dict,
    "submitterPodTemplate": dict,
}
HEAD_FIELDS = {"serviceType": str, "rayStartParams": dict, "template": dict}
WORKER_FIELDS = {
    "groupName": str,
    "replicas": int,
    "minReplicas": int,
    "maxReplicas": int,
    "rayStartParams": dict,
    "template": dict,
}


def plan(**sections: Any) -> Plan:
    return validate_plan({"budget": {"trials": 10}, **sections}, "plan")


def check(values: dict[str, Any], fields: dict[str, type]) -> None:
    assert set(values) == set(fields)
    assert {name for name, kind in fields.items() if not isinstance(values[name], kind)} == set()


@pytest.mark.parametrize("target", ["aws", "gcp"])
def test_ray_up_takes_the_file(target, tmp_path):
    files = manifest(plan(), target, "search", RUNS, "registry/fertune:1", {"AWS_REGION": "eu-west-1"})
    assert set(files) == {f"{target}.yaml", "Dockerfile"}
    prepared = prepare_config(yaml.safe_load(files[f"{target}.yaml"]))
    validate_config(prepared)  # the published schema, which allows no other field
    assert prepared["head_setup_commands"] == ["chmod 600 /home/ray/.ray/auth_token"]
    types = prepared["available_node_types"]
    assert set(types) == {"head", "cpu", "gpu"}
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["head"]["max_workers"] == 0
    # 32 trials: 11 svm and 11 forest on 16 CPUs, 10 resnet on a GPU each
    assert (types["cpu"]["max_workers"], types["gpu"]["max_workers"], prepared["max_workers"]) == (2, 10, 12)
    assert types["cpu"]["min_workers"] == types["gpu"]["min_workers"] == 0
    assert prepared["idle_timeout_minutes"] == 5
    head, worker = prepared["head_start_ray_commands"][-1], prepared["worker_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in head
    assert "--num-cpus=0" in head
    assert all("RAY_AUTH_MODE=token" in command for command in (head, worker))
    assert "/home/ray/.ray/auth_token" in prepared["file_mounts"]
    assert "--env AWS_REGION=eu-west-1" in prepared["docker"]["run_options"]
    assert "SPOT" in json.dumps(types["cpu"]).upper()
    assert "SPOT" not in json.dumps(types["head"]).upper()


def test_kuberay_gets_the_fields_it_knows():
    sent = plan(resources={"resnet": {"gpus": 0.5}}, cluster={"address": "auto", "autoscale": 12})
    files = manifest(sent, "kuberay", "search", RUNS, "registry/fertune:1", {})
    config_map, policy, job = yaml.safe_load_all(files["rayjob.yaml"])
    assert (job["apiVersion"], job["kind"], job["metadata"]) == ("ray.io/v1", "RayJob", {"name": "search"})
    check(job["spec"], JOB_FIELDS)
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    *_, cluster = yaml.safe_load_all(files["raycluster.yaml"])
    assert cluster["kind"] == "RayCluster"
    assert cluster["spec"] == job["spec"]["rayClusterSpec"]
    spec = cluster["spec"]
    check(spec, CLUSTER_FIELDS)
    check(spec["headGroupSpec"], HEAD_FIELDS)
    assert spec["authOptions"] == {"mode": "token", "secretName": "fertune-token"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    for group in spec["workerGroupSpecs"]:
        check(group, WORKER_FIELDS)
        assert group["template"]["spec"]["nodeSelector"] == {"fertune": group["groupName"]}
    assert {group["groupName"]: group["maxReplicas"] for group in spec["workerGroupSpecs"]} == {"cpu": 1, "gpu": 2}
    gpu = spec["workerGroupSpecs"][1]["template"]["spec"]["containers"][0]
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert gpu["image"] == "registry/fertune:1"
    assert policy["spec"]["podSelector"] == {"matchLabels": {"app": "fertune"}}
    inside = validate_plan(yaml.safe_load(config_map["data"]["plan.yaml"]), "the plan in the manifest")
    assert (inside.cluster.address, inside.cluster.autoscale) == ("auto", 12)
    assert inside.resources.resnet.gpus == 0.5


def test_ray_and_the_image_are_those_of_the_lock_file():
    files = manifest(plan(), "kuberay", "search", RUNS, None, {})
    *_, job = yaml.safe_load_all(files["rayjob.yaml"])
    spec = job["spec"]["rayClusterSpec"]
    lock = (ROOT / "requirements.lock").read_text()
    assert re.search(rf"^ray(\[.*\])?=={re.escape(spec['rayVersion'])}\b", lock, re.MULTILINE)
    assert spec["headGroupSpec"]["template"]["spec"]["containers"][0]["image"].startswith("fertune:lock-")
    assert "--require-hashes -r requirements.lock" in files["Dockerfile"]


def test_a_plan_without_networks_asks_for_no_gpus():
    files = manifest(plan(space={"families": ["svm", "forest"]}), "aws", "search", RUNS, None, {})
    assert set(yaml.safe_load(files["aws.yaml"])["available_node_types"]) == {"head", "cpu"}


def test_what_cannot_run_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="--runs: runs"):
        manifest(plan(), "aws", "search", "runs", None, {})
    with pytest.raises(InputError, match="--name My_Search"):
        manifest(plan(), "aws", "My_Search", RUNS, None, {})
    with pytest.raises(InputError, match="64 CPUs and 0 GPUs does not fit on c7i.4xlarge"):
        manifest(plan(resources={"svm": {"cpus": 64}}), "aws", "search", RUNS, None, {})
    files = {"a.yaml": "one"}
    assert write(files, tmp_path) == [str(tmp_path / "a.yaml")]
    with pytest.raises(InputError, match="there already"):
        write(files, tmp_path)
