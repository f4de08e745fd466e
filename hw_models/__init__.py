"""Data only. This file is here because `importlib.resources` finds the folder of an editable install through a regular package."""
