"""The commands that make models: `atelier run`, `plan`, `ingest`."""

from __future__ import annotations

import json

from atelier.cli.options import Json, Models, Override, ParamsFile, open_factory, open_params


def run(
    models: Models = None,
    params_file: ParamsFile = None,
    overrides: Override = None,
) -> None:
    """Bring data, models and registry to the state in params.yaml; leave alone what is fresh."""
    from atelier.cli.tables.factory import print_plan
    from atelier.cli.tables.history import print_results
    from atelier.factory.estimate import add_estimates
    from atelier.factory.plan import make_plan, selected_models
    from atelier.factory.preflight import require_ready

    project, params, path = open_params(params_file, overrides)
    require_ready(project, params, models or [])
    factory = open_factory(project, params)
    stages = add_estimates(factory, make_plan(factory, models or []))
    print_plan(stages)
    if all(stage.state == "fresh" for stage in stages):
        print("Nothing to do: every dataset and every model is fresh.")
        return

    from flows.embedded import run_flow
    from flows.reconcile import reconcile

    try:
        run_flow(reconcile, params_file=path, overrides=overrides or [], models=models or [])
    except Exception:  # not for a signal: who stops a run wants it to end
        print_results(factory.registry, selected_models(params, models or []))
        raise
    print_results(factory.registry, selected_models(params, models or []))


def plan(
    models: Models = None,
    params_file: ParamsFile = None,
    overrides: Override = None,
    as_json: Json = False,
) -> None:
    """Show what `atelier run` would do, and why; change nothing."""
    from atelier.cli.tables.factory import print_plan
    from atelier.factory.estimate import add_estimates
    from atelier.factory.plan import make_plan
    from atelier.factory.preflight import find_obstacles
    from atelier.ui.tables import print_warnings

    project, params, _ = open_params(params_file, overrides)
    obstacles = find_obstacles(project, params, models or [])
    factory = open_factory(project, params)
    stages = add_estimates(factory, make_plan(factory, models or []))
    if as_json:
        print(json.dumps([stage.as_json() for stage in stages], indent=2))
    else:
        print_plan(stages)
        print_warnings(f"in the way of a run: {obstacle}" for obstacle in obstacles)


def ingest(params_file: ParamsFile = None, overrides: Override = None) -> None:
    """Read the sources into data/, version them in data.dvc, and push them to the DVC remote."""
    project, params, path = open_params(params_file, overrides)
    from atelier.factory.preflight import require_ready

    require_ready(project, params)
    from flows.embedded import run_flow
    from flows.ingest import ingest_all

    md5 = run_flow(ingest_all, params_file=path, overrides=overrides or [])
    print(f"data.dvc names {md5}; pushed to the DVC remote.")


COMMANDS = (run, plan, ingest)
