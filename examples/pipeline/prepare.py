"""Shuffle measurements and split them into what to learn from and what to test with."""

import csv
import random

seed = 1
test_share = 0.3

with open("iris.csv", newline="") as file:
    header, *rows = csv.reader(file)
random.Random(seed).shuffle(rows)
count = round(test_share * len(rows))
for path, part in ("test.csv", rows[:count]), ("train.csv", rows[count:]):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *part])
    print(f"{len(part)} rows in {path}")
