"""A list takes its name when it is whole, whoever else writes the same one."""

import os
import stat

import pytest

from gateway.draft import draft_of, open_draft, target_file
from gateway.failure import InputError


def test_two_exports_to_one_file_do_not_put_each_other_s_half_in_place(tmp_path):
    target = tmp_path / "out.csv"
    with target_file(target) as file:
        file.write("whole\n")
        with pytest.raises(InputError, match="another command"), target_file(target) as other:
            other.write("half")
        assert not target.exists()
    assert target.read_text() == "whole\n"
    assert [*tmp_path.iterdir()] == [target]


def test_what_a_killed_export_left_is_begun_anew_for_its_owner_only(tmp_path):
    target = tmp_path / "out.csv"
    draft_of(target).write_text("of an earlier one, and longer")
    draft_of(target).chmod(0o644)
    with target_file(target) as file:
        file.write("new")
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_an_export_that_fails_leaves_the_earlier_file(tmp_path):
    target = tmp_path / "out.csv"
    target.write_text("earlier")
    with pytest.raises(KeyError), target_file(target) as file:
        file.write("half")
        raise KeyError
    assert target.read_text() == "earlier"
    assert [*tmp_path.iterdir()] == [target]


def test_a_draft_that_is_a_link_is_not_followed(tmp_path):
    target, elsewhere = tmp_path / "out.csv", tmp_path / "elsewhere"
    elsewhere.write_text("kept")
    os.symlink(elsewhere, draft_of(target))
    with pytest.raises(OSError, match="symbolic links"):
        open_draft(target)
    assert elsewhere.read_text() == "kept"
