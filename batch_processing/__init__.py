"""The batch layer: master dataset -> batch views. SQL in ``views/``, the ranks and the link graph in Python."""
