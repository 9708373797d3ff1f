"""Estimate pi from random points."""

import argparse
import random


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=1000, help="how many points to draw")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quiet", action="store_true", help="print the number only")
    args = parser.parse_args()
    source = random.Random(args.seed)
    inside = sum(source.random() ** 2 + source.random() ** 2 < 1 for _ in range(args.points))
    text = "" if args.quiet else f"pi, from {args.points} points: "
    print(f"{text}{4 * inside / args.points}")


if __name__ == "__main__":
    main()
