"""The built-in passes, one file each. They use what `graphopt` exports publicly, and are found through the entry-point group `graphopt.passes`."""
