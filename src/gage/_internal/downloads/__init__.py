"""Downloads: fetched over HTTP, kept once by content in the user's cache."""
