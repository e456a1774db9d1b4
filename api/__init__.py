"""The HTTP surface: requests in, JSON, problems and event streams out."""
