"""The parts of the workbench's page, from findings alone: nothing here computes a figure that is reported."""
