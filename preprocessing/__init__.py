"""Preprocessing: dumps are fetched or generated, and become clean pairs and rejected lines."""
