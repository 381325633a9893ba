"""The CustomResourceDefinitions that Fairlead works with, as the files in this folder: foreign APIs and its own.

Written so that `kubectl apply -f` takes the folder as it is. It must hold nothing but definitions.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
"""Holds one file for each definition."""
