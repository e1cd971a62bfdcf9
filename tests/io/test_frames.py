import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.errors import InputError
from napari_metallography.io.frames import read_frame, write_frame

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(
    st.lists(
        st.tuples(
            st.floats(),
            st.integers(-(2**40), 2**40),
            st.booleans(),
            texts,
            st.none() | st.integers(0, 9),
        ),
        max_size=6,
    )
)
def test_a_table_comes_back_bit_for_bit_with_its_types(tmp_path_factory, rows):
    columns = [list(one) for one in zip(*rows, strict=True)] if rows else [[], [], [], [], []]
    frame = pd.DataFrame(
        {
            "float µm": np.array(columns[0], float),
            "int": np.array(columns[1], np.int64),
            "bool": np.array(columns[2], bool),
            "text": pd.Series(columns[3], dtype=object),
            "maybe": pd.array(columns[4], dtype="Int64"),
        }
    )
    path = tmp_path_factory.mktemp("frame") / "t.npz"
    write_frame(path, frame)
    pd.testing.assert_frame_equal(read_frame(path), frame, check_exact=True)


@pytest.mark.parametrize("content", [b"", b"no table", b"PK\x03\x04 cut"])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "t.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"t\.npz"):
        read_frame(path)
