"""Print the settings that a run was staged with, as they stand in its files."""

title = "as they come"  # config, since it is assigned a constant, once
verbose: bool = True
layers = {"hidden": 32, "output": 10}  # config by the names layers.hidden and layers.output

print(f"Settings, {title}: {layers}")
for path in ("model.json", "data.yaml", "optimizer.toml", "logging.ini"):
    with open(path) as file:
        lines = file.read().splitlines()
    if verbose:
        print(f"--- {path}", *lines, sep="\n")
