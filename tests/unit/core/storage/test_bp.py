import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ensemble_mtl.core.errors import StoreError
from ensemble_mtl.core.storage import bp, bp_manifest, folders

GRID = np.arange(24, dtype=np.float64).reshape(4, 6)
READ_ONLY = np.arange(5)
READ_ONLY.flags.writeable = False
ARRAYS = {
    "transposed": GRID.T,
    "strided": GRID[::2, 1::2],
    "reversed": GRID[::-1],
    "read-only": READ_ONLY,
    "big-endian": np.arange(7, dtype=">i4"),
    "big-endian float": np.linspace(0, 1, 5).astype(">f8")[::2],
    "bool": np.array([[True, False], [False, False]]),
    "0-d": np.array(2.5, dtype=np.float32),
    "0-d bool": np.array(True),
    "empty": np.zeros((0, 3), dtype=np.float32),
    "empty bool": np.zeros((2, 0), dtype=bool),
    "nan": np.array([np.nan, np.inf, -0.0]),
    "complex": np.array([1 + 2j]),
    "bytes": np.frombuffer("größe".encode(), dtype=np.uint8),
    "a/b/c": np.array([[[1]]], dtype=np.uint64),
}
META = {"text": "größe\n", "list": [1, 2.5, None, True], "nested": {"": []}}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    bp.save(tmp_path / "x.bp", ARRAYS, META)
    return tmp_path / "x.bp"


def test_every_kind_of_array_round_trips_exactly(saved: Path) -> None:
    arrays, meta = bp.load(saved)
    assert meta == META
    assert list(arrays) == bp.names(saved) == list(ARRAYS)
    for name, expected in ARRAYS.items():
        assert arrays[name].dtype == expected.dtype, name
        assert arrays[name].shape == expected.shape, name
        assert arrays[name].tobytes() == expected.tobytes(), name


def test_a_choice_of_arrays_is_read(saved: Path) -> None:
    arrays, _ = bp.load(saved, ["bool", "empty"])
    assert list(arrays) == ["bool", "empty"]
    with pytest.raises(StoreError, match="has no array 'colour'; it holds transposed"):
        bp.load(saved, ["colour"])


def test_no_arrays_and_long_meta(tmp_path: Path) -> None:
    bp.save(tmp_path / "x.bp", {}, "x" * 5_000_000)
    assert bp.load(tmp_path / "x.bp") == ({}, "x" * 5_000_000)


@pytest.mark.parametrize(
    "array",
    [np.zeros(2, np.float16), np.array(["a"]), np.array([None]), np.zeros(2, np.complex64), np.zeros(2, "M8[s]")],
)
def test_unstorable_arrays_are_refused_by_name(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(StoreError, match=r"x\.bp: array 'mine': dtype .* cannot be stored"):
        bp.save(tmp_path / "x.bp", {"mine": array}, None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("meta", [float("nan"), {1, 2}])
def test_meta_that_is_not_json_is_refused(tmp_path: Path, meta: object) -> None:
    with pytest.raises(StoreError, match="the meta value is not JSON"):
        bp.save(tmp_path / "x.bp", {}, meta)


def test_a_store_is_replaced_and_nothing_else_is_left(saved: Path) -> None:
    before = bp.digest(saved)
    bp.save(saved, {"other": np.ones(3)}, None)
    assert bp.names(saved) == ["other"]
    assert bp.digest(saved) != before
    assert [entry.name for entry in saved.parent.iterdir()] == ["x.bp"]


def test_equal_content_has_equal_digest(saved: Path) -> None:
    before = bp.digest(saved)
    bp.save(saved, ARRAYS, META)
    assert bp.digest(saved) == before


def test_a_full_disk_is_an_os_error_and_leaves_the_former_store(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, specs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bp_manifest, "seal", full)
    with pytest.raises(OSError, match="No space left"):
        bp.save(saved, {"other": np.ones(3)}, None)
    assert bp.names(saved) == list(ARRAYS)
    assert [entry.name for entry in saved.parent.iterdir()] == ["x.bp"]


def test_a_writer_that_fails_or_stops_short_is_an_os_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import adios2

    class Broken(adios2.Stream):
        def write(self, name: str, *args: object) -> None:
            if name == "a":
                raise RuntimeError("couldn't write to file")
            super().write(name, *args)

    monkeypatch.setattr(adios2, "Stream", Broken)
    with pytest.raises(OSError, match="couldn't write"):
        bp.save(tmp_path / "x.bp", {"a": np.ones(9)}, None)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.bp").write_text("mine")
    with pytest.raises(StoreError, match="is a file"):
        bp.save(tmp_path / "x.bp", {}, None)
    assert (tmp_path / "x.bp").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_former_folder_survives_a_failing_rename(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        folders.replace(tmp_path / "missing", tmp_path / "x")


def files_of(saved: Path) -> list[str]:
    return sorted(file.name for file in saved.iterdir())


def test_every_file_is_covered(saved: Path) -> None:
    assert set(files_of(saved)) == {"data.0", "md.0", "md.idx", "mmd.0", "manifest.json"}


@pytest.mark.parametrize("name", ["data.0", "md.0", "md.idx", "mmd.0", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncate", "empty", "flip-first", "flip-middle", "flip-last", "grow", "remove"])
def test_damage_to_any_file_is_found_before_it_is_opened(saved: Path, name: str, damage: str) -> None:
    file = saved / name
    content = bytearray(file.read_bytes())
    place = {"flip-first": 0, "flip-middle": len(content) // 2, "flip-last": -1}
    if damage == "remove":
        file.unlink()
    elif damage in place:
        content[place[damage]] ^= 1
        file.write_bytes(content)
    else:
        file.write_bytes({"truncate": content[:-1], "empty": b"", "grow": content + b" "}[damage])
    with pytest.raises(StoreError, match=rf"{name}: .*delete .*x\.bp"):
        bp.load(saved)


def test_any_flipped_bit_of_the_manifest_is_found(saved: Path) -> None:
    file = saved / "manifest.json"
    content = file.read_bytes()
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 4
        file.write_bytes(changed)
        with pytest.raises(StoreError):
            bp.load(saved)


def test_a_missing_store_is_said_to_be_missing(tmp_path: Path) -> None:
    for call in (bp.load, bp.names, bp.digest, bp.verify):
        with pytest.raises(StoreError, match="there is no such store"):
            call(tmp_path / "none.bp")


def forge(saved: Path, change: dict[str, object]) -> None:
    body = json.loads((saved / "manifest.json").read_text())["manifest"]
    (saved / "manifest.json").write_text(bp_manifest._render({**body, **change}))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "a/b", "manifest.json", ""])
def test_a_hostile_manifest_cannot_lead_outside(saved: Path, name: str) -> None:
    (saved.parent / "secret").write_text("s")
    forge(saved, {"files": {name: [1, "0"]}})
    with pytest.raises(StoreError, match="leaves the folder"):
        bp.load(saved)


def test_a_link_in_place_of_a_file_is_refused(saved: Path) -> None:
    shutil.move(saved / "data.0", saved.parent / "elsewhere")
    (saved / "data.0").symlink_to(saved.parent / "elsewhere")
    with pytest.raises(StoreError, match="not a regular file"):
        bp.load(saved)


@pytest.mark.parametrize(
    "arrays",
    [{"bool": ["|O", [2]]}, {"nan": ["<f8", [4]]}, {"nan": ["<f8", [-3]]}, {"none": ["<f8", [1]]}, [], {"nan": 3}],
)
def test_a_hostile_description_of_arrays_is_refused(saved: Path, arrays: object) -> None:
    forge(saved, {"arrays": arrays})
    with pytest.raises(StoreError):
        bp.load(saved)
