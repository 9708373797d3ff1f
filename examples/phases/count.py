"""Count the words of a poem."""

import collections
import json

from vendor.words import words

most = 3

with open("poem.txt") as file:
    counts = collections.Counter(words(file.read()))
for word, count in counts.most_common(most):
    print(f"{count} {word}")
with open("counts.json", "w") as file:
    json.dump(counts, file)
