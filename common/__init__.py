"""The vocabulary that every room shares: records, titles, months, settings, errors. Imports nothing of ours."""
