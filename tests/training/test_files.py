"""Files that are replaced in one step."""

import pytest

from training.files import replacing, write_text


def test_a_file_is_replaced_once_it_is_whole(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "old")
    with replacing(file) as part:
        part.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()])
def test_where_writing_fails_the_old_file_stays_and_nothing_else(tmp_path, error):
    file = tmp_path / "a.txt"
    write_text(file, "old")

    def fail(path, text):
        with replacing(path) as part:
            if text:
                part.write_text(text)
            raise error

    for path, text in ((file, "ha"), (tmp_path / "b.txt", "")):
        with pytest.raises(type(error)):
            fail(path, text)
        assert file.read_text() == "old"
        assert list(tmp_path.iterdir()) == [file]
