"""The only room that knows all layers: the command line, the demo, reconciliation, checks of the machine."""
