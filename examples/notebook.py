# %% [markdown]
# A look at a project from Python: run it in a project's folder, as a script or cell by cell.

# %%
import sys

import torch

import atelier

project = atelier.open(sys.argv[1] if len(sys.argv) > 1 else ".")
print(project, project.models)

# %% The versions with their scores, newest last.
history = project.history()
columns = ["model", "version", "verdict"]
columns += [name for name in ("accuracy", "psnr", "kid_classifier") if name in history]
print(history[columns].to_string(index=False))

# %% What a restorer's champion makes of the first test pictures.
for name in project.models:
    network = project.model(name)
    if project.pyfunc(name).unwrap_python_model().config["kind"] != "restoration":
        continue
    scores = project.scores(name)
    psnr = scores[(scores["metric"] == "psnr") & (scores["slice"] == "all")]
    print(name, dict(zip(psnr["subject"], psnr["value"].round(2), strict=True)))
    x_CHW = torch.rand(project.pyfunc(name).unwrap_python_model().config["channels"], 32, 32)
    with torch.no_grad():
        restored_CHW = network(x_CHW[None])[0]
    print(name, "changes noise by", float((restored_CHW - x_CHW).abs().mean()))
