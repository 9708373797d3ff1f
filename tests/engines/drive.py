"""An engine asked of jobs by a process of its own, as a command of Gage is one.

Usage: drive.py KIND METHOD, on stdin JSON; on stdout what the engine answered.
"""

import json
import sys

from gage.plugins import Ticket, find_engine

kind, method = sys.argv[1:]
given = json.load(sys.stdin)
tickets = [Ticket(*each) for each in given["tickets"]]
print(json.dumps(getattr(find_engine(kind), method)(tickets, given["options"])))
