"""What our processes inherit from a shell, made such that it neither misleads nor stops them.

The servers that a user names (PREFECT_API_URL, MLFLOW_TRACKING_URI) win, with what is needed to
talk to them. All else that another project, a profile or a company's set-up left there is dropped,
for our processes alone.
"""

from __future__ import annotations

import getpass
import importlib.util
import os
import sys
from collections.abc import Collection
from pathlib import Path

LOCAL_HOSTS = ("localhost", "127.0.0.1")
# Of a server that the user doesn't name, everything is dropped but what begins so.
KEPT = {
    "PREFECT_": ("PREFECT__", "PREFECT_HOME", "PREFECT_UI_", "PREFECT_LOGGING_", "PREFECT_CLIENT_"),
    "MLFLOW_": ("MLFLOW_S3_", "MLFLOW_HTTP_"),
}
# Of one that is named, only what begins so: it is for the server, or names work of somebody else.
DROPPED = {
    "PREFECT_": (
        "PREFECT_PROFILE",  # and PREFECT_PROFILES_PATH
        "PREFECT_SERVER_",
        "PREFECT_API_DATABASE_",
        "PREFECT_RESULTS_",
        "PREFECT_DEFAULT_",
    ),
    "MLFLOW_": (
        "MLFLOW_EXPERIMENT_",
        "MLFLOW_RUN_",
        "MLFLOW_ACTIVE_MODEL_ID",
        "MLFLOW_DEFAULT_ARTIFACT_ROOT",
        "MLFLOW_ARTIFACT",
    ),
}
NAMED_BY = {"PREFECT_": "PREFECT_API_URL", "MLFLOW_": "MLFLOW_TRACKING_URI"}
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def drop_foreign(own: Collection[str]) -> None:
    """Drop what is about servers that are not ours, nor named by the user.

    Args:
        own: variables that are set afterwards, in which the user's value stays.
    """
    for prefix, variable in NAMED_BY.items():
        if not os.environ.get(variable, "").strip():
            os.environ.pop(variable, None)
        is_named = variable in os.environ
        for name in [name for name in os.environ if name.startswith(prefix)]:
            if is_named:
                foreign = name.startswith(DROPPED[prefix])
            else:
                foreign = not name.startswith(KEPT[prefix])
            if foreign and name not in own:
                del os.environ[name]


def reach_this_machine_directly() -> None:
    """Keep a proxy out of what goes to our own servers, besides what the user keeps it out of.

    Without this, Prefect's events to its own API would go to the proxy, and be lost.
    """
    # Where both spellings are set, clients look at the lower one.
    for name in ("NO_PROXY", "no_proxy"):
        if name == "NO_PROXY" or name in os.environ:
            spared = [host for host in os.environ.get(name, "").split(",") if host.strip()]
            missing = [host for host in LOCAL_HOSTS if host not in spared and "*" not in spared]
            os.environ[name] = ",".join([*spared, *missing])


def drop_unusable_proxies() -> None:
    """Leave out proxies that Prefect's client can't use: by one of them it can't be made at all."""
    usable = ["http", "https"]
    if importlib.util.find_spec("socksio"):
        usable += ["socks5", "socks5h"]
    for name in [*PROXIES, *map(str.upper, PROXIES)]:
        scheme, separator, _ = os.environ.get(name, "").partition("://")
        if separator and scheme.lower() not in usable:
            del os.environ[name]
            needed = " without the package socksio" if scheme.lower().startswith("socks5") else ""
            message = f"{name} is left out: a proxy by {scheme} can't be used{needed}."
            print(message, file=sys.stderr)


def name_user(home: Path) -> None:
    """Give a user whom the system doesn't know, as in many containers, a name and a home.

    Args:
        home: a folder that needn't be there.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = f"uid-{os.getuid()}"
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(home)
