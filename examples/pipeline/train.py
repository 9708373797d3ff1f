"""Tell the species of an iris by the flowers that are most like it."""

import collections
import csv
import json
import math

neighbours = 5


def read(path):
    with open(path, newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [([float(value) for value in row[:-1]], row[-1]) for row in rows]


known, tested = read("data/train.csv"), read("data/test.csv")


def guess(flower):
    nearest = sorted(known, key=lambda one: math.dist(one[0], flower))[:neighbours]
    return collections.Counter(species for _, species in nearest).most_common(1)[0][0]


right = sum(guess(flower) == species for flower, species in tested)
print(f"{right} of {len(tested)} right")
with open("summary.json", "w") as file:
    json.dump({"accuracy": round(right / len(tested), 4)}, file)
