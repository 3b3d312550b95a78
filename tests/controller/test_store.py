"""The store gives back what was written, all or nothing, and never stops a start."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from controller.store import Store, StoredIntent, read_or_make_secret, replace_file
from tests.controller import random_networks as nets


@given(nets.samples())
@nets.searched(10)
def test_every_intent_is_read_back_as_written(tmp_path_factory: pytest.TempPathFactory, drawn: Any) -> None:
    sample, _ = drawn
    store = Store(tmp_path_factory.mktemp("store"))
    stored = StoredIntent(sample.intent, sample.labels, 7, 11)
    store.write(stored)
    assert store.read() == stored


def test_missing_file_is_an_empty_start(tmp_path: Path) -> None:
    assert Store(tmp_path).read() == StoredIntent()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"format": "other/1"}',
        b'{"format": "routewright-controller-store/1"}',
        b"[" * 100000,
        json.dumps({**StoredIntent().to_json(), "intent": 3}).encode(),
        json.dumps({**StoredIntent().to_json(), "labels": {}}).encode(),
    ],
)
def test_unusable_file_is_set_aside(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "intent.json").write_bytes(content)
    assert Store(tmp_path).read() == StoredIntent()
    assert (tmp_path / "intent.unreadable").read_bytes() == content
    assert len(caplog.records) == 1
    assert "cannot be used" in caplog.text


def test_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old")

    def fail(*_: Any) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"


def test_secret_stays_and_is_private(tmp_path: Path) -> None:
    secret = read_or_make_secret(tmp_path)
    assert len(secret) == 32
    assert read_or_make_secret(tmp_path) == secret
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    (tmp_path / "secret").write_bytes(b"short")
    assert len(read_or_make_secret(tmp_path)) == 32
