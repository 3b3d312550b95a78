"""Files that commands write are there whole or not at all, and what cannot be written is said before and after."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from topology_sync.errors import InputError
from topology_sync.output_files import check_output, check_output_folder, output_file, write_output


def break_off(path: Path) -> None:
    with output_file(path) as file:
        file.write_text("half of the n")
        raise RuntimeError


def test_a_failure_on_the_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        break_off(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_new_file_takes_the_place_and_the_mode_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("old")
    path.chmod(0o640)
    write_output(path, "new, with ü")
    assert path.read_bytes() == "new, with ü".encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "figure.svg"
    check_output(path)
    assert not path.parent.exists()
    with output_file(path) as file:
        assert file.suffix == ".svg"
        file.write_bytes(b"<svg/>")
    assert path.read_bytes() == b"<svg/>"


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path = tmp_path / "link.json"
    path.symlink_to(tmp_path / "real" / "plan.json")
    write_output(path, "new")
    assert path.is_symlink()
    assert (tmp_path / "real" / "plan.json").read_text() == "new"


def test_devices_are_written_and_not_replaced() -> None:
    check_output(Path("/dev/null"))
    write_output(Path("/dev/null"), "gone")
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with pytest.raises(InputError, match=r"/dev/full: cannot be written \(No space left on device\); choose"):
        write_output(Path("/dev/full"), "x")


@pytest.mark.parametrize("name", ["", "file/below.json", "n" * 300])
def test_what_cannot_be_written_is_refused_before_and_after_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_output(tmp_path / name, "x")
    if len(name) < 256:
        with pytest.raises(InputError, match="cannot be written"):
            check_output(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="permission denied"):
        check_output(tmp_path / "plan.json")


def test_a_file_is_no_folder_to_put_files_into(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("file", "file/below"):
        with pytest.raises(InputError, match="cannot be written") as caught:
            check_output_folder(tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1
    check_output_folder(tmp_path)
    check_output_folder(tmp_path / "not" / "there" / "yet")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
