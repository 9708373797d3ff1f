"""An engine asked by a process of its own, as a command of Gage is one.

Usage: drive.py KIND METHOD, on stdin JSON; on stdout what the engine answered, or the error.
"""

import json
import sys

from gage._internal.errors import GageError
from gage._internal.store.resources import Resources
from gage.plugins import Job, Submission, Ticket, find_engine


def main() -> None:
    kind, method = sys.argv[1:]
    given = json.load(sys.stdin)
    engine = find_engine(kind)
    options = given.get("options", {})
    try:
        if method == "submit":
            jobs = [Job(*each[:2], Resources(*each[2:])) for each in given["jobs"]]
            folder = given["folder"]
            answer = engine.submit(
                Submission(given["name"], jobs, given["runner"], folder), options
            )
        elif method == "collect":
            answer = engine.collect(Ticket(*given["ticket"]), given["path"], options)
        elif method == "capabilities":
            answer = engine.capabilities(options)
        else:
            tickets = [Ticket(*each) for each in given["tickets"]]
            answer = getattr(engine, method)(tickets, options)
    except GageError as error:
        answer = {"error": error.reference, "message": error.message, "hint": error.hint}
    print(json.dumps(answer))


main()
