"""What the flow does with models, for processes that import the Atelier of another folder.

Nothing of Atelier is imported here: whichever comes first on PYTHONPATH then is the one.
"""


def bring_up_models(*names: str) -> None:
    """Train, evaluate, inspect and judge models of the project in the working directory."""
    from atelier.factory import Factory
    from atelier.factory.evaluate import evaluate
    from atelier.factory.inspect import inspect
    from atelier.factory.train import train
    from atelier.params import load_params
    from atelier.project import find_project, set_environment
    from atelier.promotion import let_the_gate_decide

    project = find_project()
    set_environment(project)
    factory = Factory.open(project, load_params(project.params_file))
    for name in names:
        number = train(factory, name, "a flow run")
        evaluate(factory, name, number)
        inspect(factory.registry, factory.registry.version(name, number))
        let_the_gate_decide(factory, name, number)
