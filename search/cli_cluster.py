"""`fertune cluster`: several Ray nodes on this machine."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from cluster.state import State, read_state
from search.cli_options import Json
from search.cli_output import Output, variable
from search.plan_file import read_plan

app = typer.Typer(
    help="Start, look at and stop a cluster of several Ray nodes on this machine; or write what makes one in a cloud.",
    no_args_is_help=True,
)


@app.command()
def up(
    nodes: Annotated[int, typer.Option(min=1, max=64, help="Nodes, the head included.")] = 2,
    cpus: Annotated[
        int | None, typer.Option("--cpus-per-node", min=1, help="Default: this machine's CPUs, shared among the nodes.")
    ] = None,
    gpus: Annotated[int, typer.Option("--gpus-per-node", min=0, help="GPUs of each node, no two nodes the same.")] = 0,
    json: Json = False,
) -> None:
    """Start a head and workers on loopback; they run until `fertune cluster down`. Search on them with `auto`."""
    from cluster.local_cluster import up as start

    output = Output(json)
    state = start(nodes, cpus, gpus, output.progress.print)
    output.show(_values(state), Text(f"the cluster is at {state.address}; use it with --set cluster.address=auto"))


@app.command()
def add(
    nodes: Annotated[int, typer.Option(min=1, max=64, help="How many more.")] = 1,
    json: Json = False,
) -> None:
    """Start more workers of the cluster; a search that runs gives them work."""
    from cluster.local_cluster import add as start

    output = Output(json)
    state = start(nodes, output.progress.print)
    output.show(_values(state), Text(f"the cluster has {len(state.nodes)} nodes"))


@app.command()
def status(json: Json = False) -> None:
    """Say whether a cluster started here runs; exit 1 unless it is whole."""
    state = read_state()
    if state is None:
        Output(json).show(_values(None), Text("no cluster was started here; `fertune cluster up` starts one"))
    else:
        Output(json).show(_values(state), _table(state))
    if _word(state) != "running":
        raise typer.Exit(1)


@app.command()
def down(json: Json = False) -> None:
    """Stop the processes that `fertune cluster up` started, and no others."""
    from cluster.local_cluster import down as stop

    state = stop()
    said = f"stopped {len(state.nodes)} nodes" if state else "no cluster was started here"
    Output(json).show({"stopped_nodes": len(state.nodes) if state else 0}, Text(said))


@app.command()
def manifest(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="The plan; its paths are those of the cluster.")],
    target: Annotated[Literal["kuberay", "aws", "gcp"], typer.Option(help="The cloud.")],
    runs: Annotated[str, typer.Option(help="Where the runs will be: a URL, or a path that every node sees.")],
    name: Annotated[str | None, typer.Option(help="Of the cluster and the run; default: the plan's.")] = None,
    image: Annotated[str | None, typer.Option(help="The image's name in a registry; default: fertune:lock-...")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the plan; repeatable.")
    ] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="Environment of every node; repeatable.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("manifests"),
    json: Json = False,
) -> None:
    """Write the files that make a cluster for PLAN on Kubernetes (KubeRay), AWS or GCP (ray up)."""
    from search.manifest import manifest as made
    from search.manifest import write

    checked = read_plan(plan, settings or ())
    files = made(checked, target, name or plan.stem, runs, image, dict(variable(each) for each in variables or ()))
    written = write(files, out)
    Output(json).show({"files": written}, Text(f"wrote {', '.join(written)}; docs/cloud-{target}.md goes on from here"))


def _word(state: State | None) -> str:
    """The state of the whole cluster in one word."""
    if state is None:
        return "none"
    if state.keeper.running() is None:
        return "dead"
    if len(state.nodes) < state.wanted:
        return "starting"
    return "running" if all(node.is_alive for node in state.nodes) else "damaged"


def _values(state: State | None) -> dict[str, Any]:
    if state is None:
        return {"state": "none", "address": None, "nodes": []}
    nodes = [
        {
            "alive": node.is_alive,
            "cpus": state.cpus,
            "gpus": state.gpus,
            "pids": [process.pid for process in node.processes],
        }
        for node in state.nodes
    ]
    return {"state": _word(state), "address": state.address or None, "nodes": nodes}


def _table(state: State) -> Table:
    advice = {
        "dead": "; `fertune cluster down` clears it away",
        "damaged": "; the living nodes go on, `fertune cluster down` stops them",
        "starting": "; `fertune cluster down` breaks it off",
    }
    word = _word(state)
    table = Table(title=f"cluster at {state.address or '(no address yet)'}: {word}{advice.get(word, '')}")
    for column in ("node", "state", "CPUs", "GPUs", "processes"):
        table.add_column(column)
    for number, node in enumerate(state.nodes):
        pids = " ".join(str(process.pid) for process in node.processes)
        name = "head" if number == 0 else f"worker {number}"
        table.add_row(name, "alive" if node.is_alive else "dead", str(state.cpus), str(state.gpus), pids)
    return table
