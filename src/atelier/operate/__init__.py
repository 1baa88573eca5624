"""Running by itself: the stack of `atelier up`, and who is at work.

Nothing here imports Prefect or MLflow.
"""
