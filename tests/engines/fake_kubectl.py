"""A kubectl whose cluster is a directory: what was created, and the pods that a test puts there."""

import json
import os
import sys
from pathlib import Path

CLUSTER = Path(os.environ["FAKE_CLUSTER"])


def main() -> int:
    args = sys.argv[1:]
    with (CLUSTER / "calls").open("a") as file:
        file.write(json.dumps(args) + "\n")
    refusal = CLUSTER / "refusal"
    if refusal.exists():
        sys.stderr.write(refusal.read_text())
        return 1
    verb = next(arg for arg in args if not arg.startswith("--"))
    if verb == "create":
        for number, item in enumerate(json.load(sys.stdin)["items"]):
            item["metadata"]["uid"] = f"uid-{number}"
            path = CLUSTER / f"{item['kind']}-{item['metadata']['name']}.json"
            path.write_text(json.dumps(item))
            print(json.dumps({**item, "data": None}, indent=1))
    elif verb == "annotate":
        path = CLUSTER / f"Job-{args[args.index('job') + 1]}.json"
        job = json.loads(path.read_text())
        name, _, value = args[-1].partition("=")
        job["metadata"]["annotations"][name] = value
        path.write_text(json.dumps(job))
    elif verb == "delete" and "pods" in args:
        for path in CLUSTER.glob("pod-*.json"):
            pod = json.loads(path.read_text())
            if pod["metadata"]["name"] in args:
                # It ends what it is at, as long as it is looked at so often.
                pod["looks"] = 2
                path.write_text(json.dumps(pod))
    elif verb == "get":
        kinds = ("Job", "Pod")
        found = []
        for path in sorted(CLUSTER.glob("*.json")):
            each = json.loads(path.read_text())
            if each.get("looks") == 0:
                each["status"] = {"phase": "Failed"}
            elif "looks" in each:
                path.write_text(json.dumps({**each, "looks": each["looks"] - 1}))
            found.append(each)
        print(
            json.dumps({"kind": "List", "items": [each for each in found if each["kind"] in kinds]})
        )
    return 0


sys.exit(main())
