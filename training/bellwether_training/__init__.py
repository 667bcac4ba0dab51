"""Makes Bellwether's model: prepare, train, evaluate, export, quantize, card. `cli.py` is the way in."""
