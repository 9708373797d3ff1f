"""Train a network with one hidden layer to read handwritten digits."""

import csv
import json

import numpy as np

lr = 0.1
epochs = 20
hidden = 32
batch = 32
seed = 1

with open("digits.csv", newline="") as file:
    rows = np.array(list(csv.reader(file))[1:], dtype=np.int64)
random = np.random.default_rng(seed)
random.shuffle(rows)
digits, images = rows[:, 0], rows[:, 1:] / 16
held_out = len(rows) // 5
test_images, test_digits = images[:held_out], digits[:held_out]
train_images, train_digits = images[held_out:], digits[held_out:]
print(f"{len(train_digits)} images to train on, {len(test_digits)} to test on", flush=True)

weights = [
    random.normal(0, np.sqrt(2 / 64), (64, hidden)),
    np.zeros(hidden),
    random.normal(0, np.sqrt(2 / hidden), (hidden, 10)),
    np.zeros(10),
]


def predict(images):
    """Return what the hidden layer makes of images, and the probability of each digit."""
    activity = np.maximum(images @ weights[0] + weights[1], 0)
    scores = activity @ weights[2] + weights[3]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return activity, scores / scores.sum(axis=1, keepdims=True)


def train_on(images, digits):
    """Take one step down the gradient of the cross entropy of a batch."""
    activity, error = predict(images)
    error[np.arange(len(digits)), digits] -= 1
    error /= len(digits)
    back = (error @ weights[2].T) * (activity > 0)
    gradients = [images.T @ back, back.sum(axis=0), activity.T @ error, error.sum(axis=0)]
    for weight, gradient in zip(weights, gradients, strict=True):
        weight -= lr * gradient


def test(images, digits):
    """Return the mean cross entropy and the share of digits that are read right."""
    _, probabilities = predict(images)
    loss = -np.log(probabilities[np.arange(len(digits)), digits] + 1e-12).mean()
    return float(loss), float((probabilities.argmax(axis=1) == digits).mean())


for epoch in range(1, epochs + 1):
    order = random.permutation(len(train_digits))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        train_on(train_images[chosen], train_digits[chosen])
    loss, accuracy = test(test_images, test_digits)
    print(f"epoch {epoch:2d}  loss {loss:.3f}  accuracy {accuracy:.3f}", flush=True)

np.savez("weights.npz", *weights)
with open("summary.json", "w") as file:
    json.dump({"loss": round(loss, 4), "accuracy": round(accuracy, 4)}, file)
