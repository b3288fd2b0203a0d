import stat
import subprocess
import sys

import pytest

from cluster.environment import ensure_token
from cluster.errors import ClusterError

SCRIPT = """
import os
import socket

import psutil

from cluster.session import session

with session("local", cpus=3, gpus=1) as nodes:
    assert nodes == ({"CPU": 3.0, "GPU": 1.0},), nodes
    import ray

    assert ray.util.get_node_ip_address() == "127.0.0.1"
    me = psutil.Process()
    processes = [me, *me.children(recursive=True)]
    assert len(processes) > 3
    heard = [c.laddr.ip for p in processes for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert heard
    elsewhere = [ip for ip in heard if ip.removeprefix("::ffff:") not in ("127.0.0.1", "::1")]
    assert not elsewhere, elsewhere
    assert os.environ["RAY_AUTH_MODE"] == "token"
children = psutil.Process().children(recursive=True)
gone, alive = psutil.wait_procs(children, timeout=15)
assert not alive, alive
print("good")
"""


def test_ray_listens_on_loopback_with_a_token_and_is_gone_afterwards():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.endswith("good\n"), done.stderr


def test_a_token_is_made_for_its_owner_alone_and_kept(tmp_path):
    path = tmp_path / "ray" / "auth_token"
    ensure_token(path)
    token = path.read_text()
    assert len(token) == 64
    path.chmod(0o644)
    ensure_token(path)
    assert path.read_text() == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_token_that_cannot_be_written_gets_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ClusterError, match="authentication token cannot be written"):
        ensure_token(tmp_path / "file" / "auth_token")
