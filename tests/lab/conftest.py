"""Fixtures for tests of the laboratory."""

from __future__ import annotations

import pytest
from ugsd_lab.data.vocabulary import Vocabulary


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    """The vocabulary of the grammar, which takes seconds to build."""
    return Vocabulary.build()
