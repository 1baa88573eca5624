"""All GAN networks x losses at an equal budget of CPU minutes, one after the other, on one thread.

    python benchmarks/gan_table.py --minutes 10    # Fashion-MNIST, four to five hours
    python benchmarks/gan_table.py --dataset grocery64 ../shared/data/grocery64 --augment --only
    r3/relativistic

Every result is a line of RESULTS/results.jsonl at once and is not made again; an interrupted
training goes on. The recipes are in gan_recipes.py. `--augment` trains each GAN without and with
`discriminator_augment`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from atelier.data.ingest import stages
from atelier.data.store import StoredDataset, is_stored, read_dataset
from atelier.errors import TrainingError
from atelier.evaluation import Protocol, evaluate_generator
from atelier.evaluation.extractors import classifier_extractor
from atelier.factory.fingerprint import digest
from atelier.networks.classifiers import build_classifier
from atelier.networks.generators import build_generator
from atelier.params import ClassificationModel, Dataset, GanModel, Source, load_params
from atelier.pictures import encode_picture
from atelier.project import find_project
from atelier.training.checkpoint import Checkpoints
from atelier.training.classification import classifier_config, train_classifier
from atelier.training.datasets import ArrayImages, TrainingImages
from atelier.training.device import make_deterministic
from atelier.training.gan import generator_config, train_gan
from atelier.training.session import Session
from benchmarks.gan_recipes import LOSSES, NETWORKS, gan_model
from benchmarks.machine import described

SEED = 7  # of the classifier, and of what is scored
CPU = torch.device("cpu")
CHUNK = 250  # images in one pass
SCORES = (
    "kid_classifier",
    "fd_classifier",
    "cas",
    "class_accuracy",
    "precision_classifier",
    "recall_classifier",
    "memorisation",
)


class HeldOutAsTest:
    """A dataset of a source without a test split, with the validation split in its place."""

    def __init__(self, stored: StoredDataset) -> None:
        self.name = stored.name
        self.digest = stored.digest
        counts = {**stored.info.counts, "test": stored.info.counts["validation"]}
        self.info = replace(stored.info, counts=counts)
        self._stored = stored

    def images(self, split: Any) -> Any:
        """Those of a split."""
        return self._stored.images("validation" if split == "test" else split)

    def labels(self, split: Any) -> Any:
        """Those of a split."""
        return self._stored.labels("validation" if split == "test" else split)


def grocery(results: Path, path: Path) -> HeldOutAsTest:
    """GroceryStoreDataset at 64 pixels by its coarse classes.

    Stored below the results when it is first needed.
    """
    archives = (
        Source(
            source="archive",
            path=str(path / f"{part}.zip"),
            labels=f"{part}/labels.csv",
            label_column="coarse",
        )
        for part in ("train", "val")
    )
    # Photographs of one shelf resemble each other; a class may be missing in one of the two files.
    dataset = Dataset(
        sources=tuple(archives),
        image_size=64,
        channels=3,
        near_duplicates="keep",
        max_quarantined=0.2,
    )
    root = results.resolve()
    if not is_stored(root, "grocery64"):
        folder = stages.read(root, "grocery64", dataset)
        stages.store(
            root, "grocery64", dataset, folder, stages.validate(root, "grocery64", dataset, folder)
        )
    return HeldOutAsTest(read_dataset(root, "grocery64"))


def padded(dataset: Any, size: int) -> ArrayImages:
    """The training images with black around them.

    `progressive` networks double their resolution from 8 pixels on.
    """
    pixels = dataset.images("train")
    before = (size - dataset.info.image_size) // 2
    around = (before, size - dataset.info.image_size - before)
    images_NHWC = np.pad(pixels[np.arange(len(pixels))], ((0, 0), around, around, (0, 0)))
    return ArrayImages(replace(dataset.info, image_size=size), images_NHWC, dataset.labels("train"))


def quiet_session(
    checkpoints: Checkpoints, on_log: Any = lambda *_: None, seed: int = SEED
) -> Session:
    """A session of which nothing but checkpoints stays."""
    return Session(CPU, seed, checkpoints, on_log, lambda *_: None)


def classifier(results: Path, recipe: ClassificationModel, dataset: Any) -> tuple[nn.Module, Path]:
    """The extractor of all scores and its file: trained once by the recipe of params.yaml."""
    config = classifier_config(recipe, dataset.info)
    trained_as = digest({"recipe": recipe.model_dump(mode="json"), "data": dataset.digest})
    file = results / f"classifier-{dataset.name}-{trained_as[:8]}.safetensors"
    if not file.exists():
        print(f"training the classifier of {dataset.name}", flush=True)
        checkpoints = Checkpoints(results / "checkpoints" / file.stem, trained_as)
        weights = train_classifier(recipe, dataset, quiet_session(checkpoints)).network.state_dict()
        save_file({name: weight.contiguous() for name, weight in weights.items()}, file)
        checkpoints.clear()
    network = build_classifier(**config)
    network.load_state_dict(load_file(file))
    return network.eval().requires_grad_(False), file


def train(
    model: GanModel, dataset: TrainingImages, checkpoints: Checkpoints, seed: int
) -> tuple[nn.Module, dict[str, Any]]:
    """The averaged generator, of a run that was ended early that of its last checkpoint.

    And how the run went.
    """
    logged: dict[str, float] = {}
    session = quiet_session(checkpoints, lambda images_seen, values: logged.update(values), seed)
    ended = ""
    try:
        trained = train_gan(model, dataset, session)
        G, images_seen = trained.network, trained.images_seen
    except TrainingError as error:
        state = checkpoints.load()
        if state is None:  # not the course of the training, but the data or the disk
            raise
        G = build_generator(**generator_config(model, dataset.info))
        G.load_state_dict(state["G_ema"])
        ended, images_seen = str(error), state["images_seen"]
    went = {
        "kimg": images_seen / 1000,
        "cpu_minutes": logged.get("minutes", 0.0),
        "images_per_second": logged.get("images_per_second", 0.0),
        "ended": ended,
    }
    return G.eval().requires_grad_(False), went


def generator_of(G: nn.Module, model: GanModel, size: int, num_classes: int) -> Any:
    """What `evaluate_generator` asks for images.

    Larger ones are cut to the size of the real ones.
    """

    @torch.inference_mode()
    def generate(num_images: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        z_NZ = torch.randn(
            num_images, model.generator.latent_dim, generator=torch.Generator().manual_seed(seed)
        )
        labels_N = torch.arange(num_images) % num_classes
        parts = [G(*part) for part in zip(z_NZ.split(CHUNK), labels_N.split(CHUNK), strict=True)]
        x_NCHW = (torch.cat(parts) * 0.5 + 0.5).clamp(0, 1)
        border = (x_NCHW.shape[-1] - size) // 2
        cut_NCHW = x_NCHW[..., border : border + size, border : border + size]
        return np.ascontiguousarray(cut_NCHW.numpy()), labels_N.numpy()

    return generate


def one(
    key: dict[str, Any],
    dataset: Any,
    recipe: ClassificationModel,
    protocol: Protocol,
    results: Path,
) -> Any:
    """Train and score one GAN; returns its line of the results."""
    model = gan_model(dataset.name, key["network"], key["loss"], key["minutes"], key["augment"])
    name = "-".join(str(value) for value in key.values())
    size = dataset.info.image_size
    grown = 2 ** int(np.ceil(np.log2(size)))
    images = (
        padded(dataset, grown) if key["network"] == "progressive" and grown != size else dataset
    )
    identity = digest({"model": model.model_dump(mode="json"), "data": dataset.digest, **key})
    checkpoints = Checkpoints(results / "checkpoints" / name, identity)
    G, went = train(model, images, checkpoints, key["seed"])
    generate = generator_of(G, model, size, dataset.info.num_classes)
    network, file = classifier(results, recipe, dataset)
    extractor = classifier_extractor(network, file.stem, CPU)
    evaluated = evaluate_generator(generate, recipe, extractor, dataset, protocol)
    picture = results / f"{name}.png"
    picture.write_bytes(encode_picture(evaluated.pictures["generated.png"], picture))
    checkpoints.clear()
    scores = {
        metric: [getattr(evaluated.scores[metric], part) for part in ("value", "low", "high")]
        for metric in SCORES
    }
    return {**key, **went, **scores}


def table(lines: list[dict[str, Any]]) -> str:
    """A Markdown table, the best KID first."""
    text = (
        "| dataset | network | loss | augmented | seed | KID | FD | CAS | class accuracy "
        "| precision | recall | memorisation | CPU min | kimg | images/s | ended early |\n"
    )
    text += 16 * "|---" + "|\n"
    for line in sorted(
        lines, key=lambda line: (line["dataset"], line["minutes"], line["kid_classifier"][0])
    ):
        kid, low, high = line["kid_classifier"]
        text += (
            f"| {line['dataset']} | {line['network']} | {line['loss']} | "
            f"{'yes' if line['augment'] else 'no'} "
            f"| {line['seed']} | **{kid:.4f}** [{low:.4f}, {high:.4f}] "
            f"| {line['fd_classifier'][0]:.2f} | {line['cas'][0]:.3f} "
            f"| {line['class_accuracy'][0]:.3f} | {line['precision_classifier'][0]:.2f} "
            f"| {line['recall_classifier'][0]:.2f} | {line['memorisation'][0]:.4f} "
            f"| {line['cpu_minutes']:.1f} | {line['kimg']:.0f} | {line['images_per_second']:.0f} "
            f"| {line['ended'] or 'no'} |\n"
        )
    return text


def parsed() -> argparse.Namespace:
    """The command line."""
    pairs = [f"{network}/{loss}" for network in NETWORKS for loss in LOSSES]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--project", type=Path, help="folder with params.yaml and data/ (default: here or above)"
    )
    parser.add_argument("--dataset", nargs="+", default=["fashion"], metavar=("NAME", "PATH"))
    parser.add_argument(
        "--augment", action="store_true", help="each GAN without and with discriminator_augment"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of CPU time for each training")
    parser.add_argument("--seed", type=int, default=SEED, help="of the trainings")
    parser.add_argument("--only", nargs="+", choices=pairs, default=pairs, metavar="NETWORK/LOSS")
    parser.add_argument(
        "--results", type=Path, default=Path(".atelier") / "gan_table", help="folder"
    )
    arguments = parser.parse_args()
    if arguments.dataset[0] not in ("fashion", "grocery64") or len(arguments.dataset) != 1 + (
        arguments.dataset[0] == "grocery64"
    ):
        parser.error("--dataset is `fashion`, or `grocery64` and the folder of its two zip files")
    return arguments


def main() -> None:
    """Train what is missing, then print the table of all results."""
    arguments = parsed()
    project = find_project(arguments.project)
    params = load_params(project.params_file)
    make_deterministic(1)
    print(described(SEED), flush=True)
    results: Path = arguments.results
    results.mkdir(parents=True, exist_ok=True)
    name, *path = arguments.dataset
    dataset: Any = grocery(results, Path(path[0])) if path else read_dataset(project.root, name)
    recipe = params.models[params.evaluation.classifier]
    assert isinstance(recipe, ClassificationModel)
    protocol = Protocol(params.evaluation, SEED, CPU)
    file = results / "results.jsonl"
    lines = (
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        if file.exists()
        else []
    )
    for pair in arguments.only:
        for augment in (False, True) if arguments.augment else (False,):
            network, loss = pair.split("/")
            key = {
                "dataset": name,
                "network": network,
                "loss": loss,
                "augment": augment,
                "minutes": arguments.minutes,
                "seed": arguments.seed,
            }
            if any(key.items() <= line.items() for line in lines):
                continue
            lines.append(one(key, dataset, recipe, protocol, results))
            with file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(lines[-1]) + "\n")
            print(table(lines[-1:]).splitlines()[-1], flush=True)
    print("\n" + table(lines))


if __name__ == "__main__":
    main()
