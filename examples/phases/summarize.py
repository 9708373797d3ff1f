"""Summarize what the run has counted."""

import json

with open("counts.json") as file:
    counts = json.load(file)
with open("summary.json", "w") as file:
    json.dump({"words": sum(counts.values()), "different": len(counts)}, file)
print("Summarized", len(counts), "words")
