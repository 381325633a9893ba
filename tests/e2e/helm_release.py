"""One step of a release, by Helm's own code: `helm_release.py KUBECONFIG STEP [CHART] [REPLICAS]`. Prints what Helm returns, as JSON.

A process of its own: the library brings a Go runtime, with its threads and signal handlers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import helm_python

NAME = "front"
PATIENCE_S = 60


def main(kubeconfig: str, step: str, chart: str = "", replicas: str = "0") -> Any:
    if step == "create":
        # The chart that `helm create` writes: Deployment, Service, ServiceAccount.
        helm_python.Chart.create(Path(chart).name, str(Path(chart).parent)).close()
        return None
    values = {"replicaCount": int(replicas)}
    with helm_python.Config(kubeconfig_path=kubeconfig, namespace="default") as helm:
        match step:
            case "trial":
                return helm.install(chart, NAME, values, dry_run="server", timeout=PATIENCE_S)
            case "install":
                return helm.install(chart, NAME, values, wait="watcher", timeout=PATIENCE_S)
            case "upgrade":
                return helm.upgrade(chart, NAME, values, wait="watcher", timeout=PATIENCE_S)
            case "rollback":
                return helm.rollback(NAME, wait="watcher", timeout=PATIENCE_S)
            case "history":
                return [(each["revision"], each["status"]) for each in helm.history(NAME)]
            case "list":
                return [each["name"] for each in helm.list()]
            case _:
                return helm.uninstall(NAME, wait="watcher", timeout=PATIENCE_S)


if __name__ == "__main__":
    try:
        print(json.dumps(main(*sys.argv[1:])))
    except helm_python.HelmError as error:
        sys.exit(str(error))
