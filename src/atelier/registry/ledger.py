"""The ledger: every decision about a model's versions, in a chain of hashes that only grows.

An entry is a run of the MLflow experiment `ledger`. It is written before the aliases move, as
RUNNING, and closed as FINISHED when they have: an entry that stays open is a decision that was
killed half-way, and says how to complete it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from atelier.errors import RegistryError, UsageError
from atelier.project import open_lock
from atelier.registry.connection import every_page, quote
from atelier.registry.decisions import Action, Decision

if TYPE_CHECKING:
    from atelier.registry.connection import Connection

EXPERIMENT = "ledger"
START = "0" * 64  # what the first entry of a model follows
# MLflow can't add an entry under a condition, so one that was added looks back whether it is alone.
ATTEMPTS = 5
HEAD = "ledger.head"  # tag of a registered model: hash of its newest entry


@dataclass(frozen=True)
class Entry:
    """A decision in its place in the chain.

    Attributes:
        sequence: 1 for the first about this model.
        decision: what was decided.
        follows: hash of the entry before.
        hash: SHA-256 of all the above.
        run_id: the MLflow run that holds it.
        is_open: whether it was killed before all of it was done.
    """

    sequence: int
    decision: Decision
    follows: str
    hash: str
    run_id: str
    is_open: bool


def decision_hash(sequence: int, follows: str, decision: Decision) -> str:
    """SHA-256 of the canonical JSON of an entry."""
    content = json.dumps(
        [sequence, follows, _as_json(decision)], sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(content.encode()).hexdigest()


def _as_json(decision: Decision) -> dict[str, Any]:
    """A decision as it is written; one from before runs were written stays what it was."""
    fields = asdict(decision)
    if not decision.runs:
        del fields["runs"]
    return fields


def is_entry(run: Any) -> bool:
    """Whether a run of the experiment is an entry, also a damaged one.

    Other teams may have an experiment of this name.
    """
    return not {"decision", "sequence", "hash"}.isdisjoint(run.data.tags)


def entry_of(run: Any) -> Entry:
    """The entry that a run of the experiment holds, as MLflow's client gives it.

    Raises:
        RegistryError: if it holds none that can be read.
    """
    tags: Mapping[str, str] = run.data.tags
    try:
        fields = json.loads(tags["decision"])
        fields |= {"action": Action(fields["action"]), "reasons": tuple(fields["reasons"])}
        decision = Decision(**fields)
        sequence = int(tags["sequence"])
        follows = tags["follows"]
        own_hash = tags["hash"]
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryError(
            f"the ledger of {tags.get('model')} can't be trusted: run {run.info.run_id} holds no "
            f"entry that can be read ({type(error).__name__}: {error}). Restore MLflow's database "
            "from a backup, or find out who did it."
        ) from None
    is_open = run.info.status != "FINISHED"
    return Entry(sequence, decision, follows, own_hash, run.info.run_id, is_open)


def check_chain(model: str, entries: Iterable[Entry], head: str | None) -> list[Entry]:
    """Sort the entries about a model, oldest first, and see that nobody changed or removed one.

    Args:
        model: the registered model.
        entries: all about it, in any order.
        head: hash of the newest one that is known; None if none is.

    Raises:
        RegistryError: naming the entry that was changed or removed.
    """
    chain = sorted(entries, key=lambda entry: entry.sequence)
    follows = START
    for position, entry in enumerate(chain, start=1):
        is_whole = entry.hash == decision_hash(entry.sequence, entry.follows, entry.decision)
        if not is_whole or entry.sequence != position or entry.follows != follows:
            offence = "does not follow the one before it" if is_whole else "was changed"
            raise RegistryError(
                f"the ledger of {model} can't be trusted: entry {entry.sequence} "
                f"(run {entry.run_id}) {offence}. Nothing is decided on it. "
                "Restore MLflow's database from a backup, or find out who did it."
            )
        follows = entry.hash
    if head is not None and head not in {entry.hash for entry in chain}:
        raise RegistryError(_explain_missing_head(model, chain, head))
    return chain


def _explain_missing_head(model: str, chain: list[Entry], head: str) -> str:
    """What is wrong with a chain that doesn't end, or even begin, where it did."""
    if chain:
        loss = "its newest entries are gone"
        way_out = ""
    else:
        loss = "all its entries are gone"
        way_out = (
            f" If there is no backup: atelier ledger {model} --begin-again --reason ... "
            "starts another one."
        )
    return (
        f"the ledger of {model} can't be trusted: {loss} (the last one known has the hash "
        f"{head[:8]}). Restore MLflow's database from a backup, or find out who did it.{way_out}"
    )


class Ledger:
    """The entries about all models."""

    def __init__(self, connection: Connection, experiment_id: str) -> None:
        self._connection = connection
        self._client = connection.client
        self._experiment = experiment_id

    def entries(self, model: str) -> list[Entry]:
        """All entries about a model, oldest first.

        Raises:
            RegistryError: if an entry was changed or removed, naming it.
        """
        return check_chain(model, self._read(model), self._head(model))

    def append(self, decision: Decision, head: str) -> Entry:
        """Add a decision that was made knowing the chain up to `head`; it is open until `close`.

        Raises:
            UsageError: if another decision about this model came first.
            RegistryError: if the ledger can't be trusted.
        """
        for _ in range(ATTEMPTS):
            entries = self.entries(decision.model)
            last_hash = entries[-1].hash if entries else START
            if last_hash != head:
                newest = entries[-1].decision
                raise UsageError(
                    f"another decision about {decision.model} came first: {newest.action} version "
                    f"{newest.version}, by {newest.who}. Nothing was changed; look at "
                    f"`atelier ledger {decision.model}`, and decide again."
                )
            entry = self._write(decision, len(entries) + 1, head)
            if self._is_alone(entry):
                self._client.set_registered_model_tag(decision.model, HEAD, entry.hash)
                return entry
            # Two at the same moment on two machines: both step back.
            self._client.delete_run(entry.run_id)
            time.sleep(random.uniform(0.1, 1.0))
        raise RegistryError(
            f"somebody else is deciding about {decision.model} all the time. Try again later."
        )

    def append_first(self, decision: Decision) -> Entry:
        """Begin a chain with a decision, whatever hash the registered model carries.

        Raises:
            UsageError: if there is an entry about the model, or never was one.
        """
        if self._head(decision.model) is None:
            raise UsageError(
                f"nothing was decided about {decision.model} yet, so no ledger was lost."
            )
        if self._read(decision.model):
            raise UsageError(
                f"{decision.model} has a ledger. Look at it: atelier ledger {decision.model}. "
                "Only one that was lost as a whole can be begun again."
            )
        entry = self._write(decision, 1, START)
        self._client.set_registered_model_tag(decision.model, HEAD, entry.hash)
        return entry

    def close(self, entry: Entry) -> None:
        """Note that everything an entry says has been done."""
        with self._connection.explain_errors("close an entry of the ledger"):
            self._client.set_terminated(entry.run_id, "FINISHED")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold off other decisions of this project folder.

        Those of other machines are noticed by `append`.
        """
        with open_lock(self._connection.project, "ledger") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _head(self, model: str) -> str | None:
        """The hash that the registered model carries, which stays when every entry is deleted."""
        with self._connection.explain_errors("read the ledger"):
            by_name = f"name = {quote(model)}"
            registered = self._client.search_registered_models(by_name)
        return registered[0].tags.get(HEAD) if registered else None

    def _is_alone(self, entry: Entry) -> bool:
        """Whether no other entry about the model has the same place in the chain."""
        entries = self._read(entry.decision.model)
        run_ids = [other.run_id for other in entries if other.sequence == entry.sequence]
        return run_ids == [entry.run_id]

    def _read(self, model: str) -> list[Entry]:
        with self._connection.explain_errors("read the ledger"):
            about = f"tags.model = {quote(model)}"
            runs = every_page(
                self._client.search_runs, experiment_ids=[self._experiment], filter_string=about
            )
        return [entry_of(run) for run in runs if is_entry(run)]

    def _write(self, decision: Decision, sequence: int, follows: str) -> Entry:
        digest = decision_hash(sequence, follows, decision)
        tags = {
            "model": decision.model,
            "sequence": str(sequence),
            "follows": follows,
            "hash": digest,
            "decision": json.dumps(_as_json(decision)),
            "mlflow.note.content": f"{decision.who}: " + "; ".join(decision.reasons),
        }
        name = f"{decision.model} {sequence}: {decision.action} {decision.version}"
        with self._connection.explain_errors("write to the ledger"):
            # One call: an entry is there whole, or not at all.
            run = self._client.create_run(self._experiment, run_name=name, tags=tags)
        return Entry(sequence, decision, follows, digest, str(run.info.run_id), True)
