"""Over 2,000 random pictures of all sizes and modes, whole and spoilt."""

import pytest
from fuzzing import fuzz_pictures


@pytest.mark.slow
def test_random_pictures_are_read_rightly_or_refused_by_name() -> None:
    refused = fuzz_pictures(2400)
    assert 200 < refused < 1400
