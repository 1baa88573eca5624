"""What the flow does with models, for processes that import the Atelier of another folder.

Nothing of Atelier is imported here: whichever comes first on PYTHONPATH then is the one.
"""


def bring_up_models(*names: str) -> None:
    """Train, evaluate, inspect and judge models of the project in the working directory."""
    from atelier import promotion, stages
    from atelier.params import load_params
    from atelier.project import find_project, set_environment

    project = find_project()
    set_environment(project)
    params = load_params(project.params_file)
    for name in names:
        number = stages.train(project, params, name, "a flow run")
        stages.evaluate(project, params, name, number)
        stages.inspect(project, name, number)
        promotion.decide(project, params, name, number)
