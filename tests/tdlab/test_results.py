"""Tidy tables: every number keeps its coordinates; a file, also of tensors, is whole or absent."""

import warnings

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from tdlab import results
from tdlab.results import (
    keep,
    keep_tensors,
    provenance,
    read,
    read_tensors,
    tidy,
    write,
    write_tensors,
    written_by,
)

STEPS, SEEDS = [0, 10, 100], [7, 11]


@pytest.fixture
def table():
    values = torch.arange(6.0).reshape(3, 2)
    return tidy("margin", values, "step seed", step=STEPS, seed=SEEDS, source="measured")


def test_each_number_lies_in_the_row_of_its_coordinates():
    values = np.random.default_rng(0).normal(size=(3, 2, 4))
    table = tidy(
        "angle",
        values,
        "step seed neuron",
        step=STEPS,
        seed=SEEDS,
        neuron=range(4),
        source="theory",
    )
    found = table.set_index(["step", "seed", "neuron"]).value
    for i, step in enumerate(STEPS):
        for j, seed in enumerate(SEEDS):
            for k in range(4):
                assert found[step, seed, k] == values[i, j, k]


def test_required_columns_come_first_then_the_axes(table):
    assert [*table.columns] == ["run", "seed", "step", "quantity", "source", "value"]
    layered = tidy("c", torch.ones(2), "layer", layer=["first", "second"], head=0, source="theory")
    assert [*layered.columns][6:] == ["layer", "head"]
    assert (layered["head"] == 0).all()


def test_coordinate_may_follow_another_axis():
    table = tidy(
        "margin",
        torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        "step member",
        source="measured",
        step=torch.tensor([0, 5]),
        member=range(2),
        seed=("member", torch.tensor(SEEDS)),
        run=("member", ["first", "second"]),
    )
    assert table.run.tolist() == ["first", "second"] * 2
    assert table.seed.tolist() == SEEDS * 2


def test_number_without_axes_is_one_row():
    table = tidy("risk", 0.25, "", source="theory", run="abc", alpha=0.8)
    assert table.drop(columns=["seed", "step"]).to_dict("records") == [
        {"run": "abc", "quantity": "risk", "source": "theory", "value": 0.25, "alpha": 0.8}
    ]
    assert table[["seed", "step"]].isna().all(axis=None)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.int64, torch.bool])
def test_values_of_any_real_type_become_float64(dtype):
    values = torch.ones(2, dtype=dtype, requires_grad=dtype.is_floating_point)
    assert tidy("c", values, "seed", seed=SEEDS, source="measured").value.tolist() == [1.0, 1.0]


def test_tables_concatenate_without_a_warning_and_keep_their_types(table):
    without_seeds = tidy("margin", 1.0, "", source="theory")
    empty = tidy("margin", torch.ones(0), "seed", seed=[], source="measured")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = pd.concat([table, without_seeds, empty])
    assert len(together) == 7
    assert together.dtypes.astype(str).to_dict() == results.COLUMNS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": [0, 10]}, "axis 'step' has length 3, its coordinate 'step' has length 2"),
        ({"axes": "step member"}, r"axis 'member' \(length 2\) has no coordinate"),
        ({"axes": "step"}, "must be 2 different names"),
        ({"axes": "step step"}, "must be 2 different names"),
        ({"source": "guessed"}, "source is 'guessed'; it must be one of measured, theory"),
        ({"layer": [0, 1]}, "'layer' is no axis of the values"),
        ({"run": ("member", ["p", "q"])}, "'run' follows axis 'member'; the axes are"),
        ({"value": 3}, "'value' cannot be an axis or a coordinate"),
    ],
)
def test_ill_formed_table_is_refused(change, message):
    good = {"axes": "step seed", "step": STEPS, "seed": SEEDS, "source": "measured"}
    with pytest.raises(ValueError, match=message):
        tidy("margin", torch.zeros(3, 2), **good | change)


def test_complex_values_are_refused():
    with pytest.raises(TypeError, match="complex64; they must be real"):
        tidy(
            "eigenvalue", torch.ones(2, dtype=torch.complex64), "seed", seed=[0, 1], source="theory"
        )


def test_table_survives_the_disk(table, tmp_path):
    write(tmp_path / "margin.parquet", table)
    pd.testing.assert_frame_equal(read(tmp_path / "margin.parquet"), table)


def test_file_remembers_what_wrote_it(table, tmp_path):
    write(tmp_path / "margin.parquet", table)
    origin = written_by(tmp_path / "margin.parquet")
    assert origin == provenance()
    assert (origin["torch"], origin["threads"]) == (torch.__version__, torch.get_num_threads())


def test_failed_write_leaves_the_old_table_and_nothing_else(table, tmp_path, monkeypatch):
    path = tmp_path / "margin.parquet"
    write(path, table)

    def break_off(arrow, file):
        file.write(b"PAR1 and then the disk was full")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", break_off)
    with pytest.raises(OSError, match="disk full"):
        write(path, table.head(1))
    pd.testing.assert_frame_equal(read(path), table)
    assert [*tmp_path.iterdir()] == [path]


def test_keep_writes_only_where_it_is_told(table, tmp_path, monkeypatch):
    monkeypatch.delenv("TDLAB_KEEP", raising=False)
    assert keep("margin", table) is table
    monkeypatch.setenv("TDLAB_KEEP", str(tmp_path / "tables"))
    assert keep("icl.margin", table) is table
    pd.testing.assert_frame_equal(read(tmp_path / "tables" / "icl.margin.parquet"), table)


def test_keep_refuses_an_untidy_table_even_where_it_writes_none(table, monkeypatch):
    monkeypatch.delenv("TDLAB_KEEP", raising=False)
    with pytest.raises(ValueError, match="table margin lacks value"):
        keep("margin", table.drop(columns="value"))


@pytest.mark.parametrize("name", ["", "../margin", "a/b", ".hidden", "two words"])
def test_keep_refuses_a_name_that_is_no_file_stem(name, table, monkeypatch):
    monkeypatch.delenv("TDLAB_KEEP", raising=False)
    with pytest.raises(ValueError, match="is no plain file stem"):
        keep(name, table)


def test_table_that_lacks_a_column_is_neither_written_nor_read(table, tmp_path):
    path = tmp_path / "odd.parquet"
    with pytest.raises(ValueError, match="lacks seed, source"):
        write(path, table.drop(columns=["seed", "source"]))
    assert not path.exists()
    table.drop(columns="value").to_parquet(path)
    with pytest.raises(ValueError, match="lacks value"):
        read(path)
    with pytest.raises(ValueError, match="records no provenance"):
        written_by(path)


def test_file_that_is_not_parquet_is_named(tmp_path):
    path = tmp_path / "margin.parquet"
    path.write_text("run,seed,step\n")
    with pytest.raises(ValueError, match=r"margin\.parquet is not a parquet file"):
        read(path)


# Tensors.


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(1)
    W = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    others = {"half": W.detach().bfloat16(), "index": torch.arange(3), "number": torch.tensor(2.5)}
    # A transposed leaf has gaps, and the same leaf twice shares its memory.
    return {"W": W, "turned": W.mT[1:], "again": W, **others, "kept": torch.tensor([True, False])}


def assert_same(found, tensors):
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].equal(tensor)
        assert not found[name].requires_grad


def test_tensors_survive_the_disk_bit_for_bit(tensors, tmp_path):
    write_tensors(tmp_path / "plane.safetensors", tensors)
    assert_same(read_tensors(tmp_path / "plane.safetensors"), tensors)
    assert_same(read_tensors(str(tmp_path / "plane.safetensors")), tensors)
    assert [*tmp_path.iterdir()] == [tmp_path / "plane.safetensors"]


def test_tensors_remember_what_wrote_them(tensors, tmp_path):
    path = tmp_path / "plane.safetensors"
    write_tensors(path, tensors)
    assert written_by(path) == provenance()
    save_file({"a": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=r"plane\.safetensors records no provenance"):
        written_by(path)


def test_failed_write_leaves_the_old_tensors_and_nothing_else(tensors, tmp_path, monkeypatch):
    path = tmp_path / "plane.safetensors"
    write_tensors(path, tensors)

    def disk_full(number):
        raise OSError("disk full")

    monkeypatch.setattr(results.os, "fsync", disk_full)
    with pytest.raises(OSError, match="disk full"):
        write_tensors(path, {"a": torch.ones(2)})
    assert_same(read_tensors(path), tensors)
    assert [*tmp_path.iterdir()] == [path]


def test_what_was_read_stays_when_the_file_is_replaced_or_gone(tensors, tmp_path):
    path = tmp_path / "plane.safetensors"
    write_tensors(path, tensors)
    found = read_tensors(path)
    write_tensors(path, {name: torch.zeros_like(tensor) for name, tensor in tensors.items()})
    path.unlink()
    assert_same(found, tensors)
    found["W"] += 1  # and is the reader's own


def test_tensors_are_kept_only_where_it_is_told(tensors, tmp_path, monkeypatch):
    monkeypatch.delenv("TDLAB_KEEP", raising=False)
    assert keep_tensors("plane", tensors) is tensors
    monkeypatch.setenv("TDLAB_KEEP", str(tmp_path / "kept"))
    assert keep_tensors("softmax.plane", tensors) is tensors
    assert_same(read_tensors(tmp_path / "kept" / "softmax.plane.safetensors"), tensors)
    assert len([*tmp_path.iterdir()]) == 1


@pytest.mark.parametrize("name", ["", "../plane", "a/b", ".hidden", "two words"])
def test_tensors_are_not_kept_under_a_name_that_is_no_file_stem(name, tensors, monkeypatch):
    monkeypatch.delenv("TDLAB_KEEP", raising=False)
    with pytest.raises(ValueError, match="is no plain file stem"):
        keep_tensors(name, tensors)


def test_no_tensors_are_neither_kept_nor_written(tmp_path, monkeypatch):
    monkeypatch.delenv("TDLAB_KEEP", raising=False)
    with pytest.raises(ValueError, match=r"^plane has no tensor$"):
        keep_tensors("plane", {})
    with pytest.raises(ValueError, match=r"plane\.safetensors has no tensor$"):
        write_tensors(tmp_path / "plane.safetensors", {})
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("content", [b"", b"PAR1 and more", b"\x08\0\0\0\0\0\0\0no json!"])
def test_file_that_is_not_safetensors_is_named(content, tmp_path):
    path = tmp_path / "plane.safetensors"
    path.write_bytes(content)
    for reader in (read_tensors, written_by):
        with pytest.raises(ValueError, match=r"plane\.safetensors is not a safetensors file"):
            reader(path)


def test_tensors_cut_short_are_refused_and_a_missing_file_is_missing(tensors, tmp_path):
    path = tmp_path / "plane.safetensors"
    write_tensors(path, tensors)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"plane\.safetensors is not a safetensors file"):
        read_tensors(path)
    with pytest.raises(FileNotFoundError, match="absent"):
        read_tensors(tmp_path / "absent.safetensors")
