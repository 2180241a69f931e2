"""What is measured: one module a group of figures. See running.py for what a group is."""
