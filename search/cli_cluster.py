"""`fertune cluster`: several Ray nodes on this machine."""

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from cluster.state import State, read_state
from search.cli_output import Output

app = typer.Typer(help="Start, look at and stop a cluster of several Ray nodes on this machine.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


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
