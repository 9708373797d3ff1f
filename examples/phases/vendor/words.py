"""A library that the project keeps a copy of."""

import re


def words(text):
    return re.findall(r"[a-z]+", text)
