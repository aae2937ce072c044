"""The overlap-add plan covers every sample exactly once in total."""

import numpy as np
import pytest

from demucs.dsp.overlap_add import Chunk, OverlapAdd, triangle, widened


@pytest.mark.parametrize("length,segment,stride,lead,power", [
    (1000, 100, 75, 0, 1.), (1000, 101, 33, 50, 2.), (7, 100, 75, 0, 1.), (1, 1, 1, 0, 1.), (300, 100, 100, 10, 1.),
    (57, 10, 1, 3, 3.),
])
def test_gains_add_up_to_one(length, segment, stride, lead, power):
    plan = OverlapAdd(length, segment=segment, stride=stride, lead=lead, transition_power=power)
    total = np.zeros(lead + length)
    for index, chunk in enumerate(plan.chunks):
        total[lead + chunk.start:lead + chunk.stop] += plan.gain(index)
    np.testing.assert_allclose(total, 1, atol=1e-6)   # float32 gains, up to ten of them
    assert plan.chunks[0].start == -lead
    assert plan.chunks[-1].stop == length


def test_triangle_is_symmetric_where_it_can_be():
    np.testing.assert_array_equal(triangle(6), np.array([1, 2, 3, 3, 2, 1]) / 3)
    np.testing.assert_array_equal(triangle(5), np.array([1, 2, 3, 2, 1]) / 3)
    np.testing.assert_array_equal(triangle(5, 2.), (np.array([1, 2, 3, 2, 1]) / 3) ** 2)


def test_context_is_centred_and_the_odd_sample_is_on_the_right():
    assert widened(Chunk(10, 4), 4) == (Chunk(10, 4), 0)
    assert widened(Chunk(10, 4), 7) == (Chunk(9, 7), 1)
