"""Files of generations in HDFS: put once, copied once a machine, mapped."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from readerflow.common.settings import Settings
from readerflow.storage.batch_views import LinkGraph
from readerflow.storage.graph_files import read_graph, write_graph
from readerflow.storage.hdfs_files import HdfsFiles
from readerflow.storage.hdfs_generation_files import HdfsGenerationFiles

pytestmark = pytest.mark.cluster

GRAPH = LinkGraph(
    pa.array(["A", "Čakovec", "Zagreb"], pa.large_string()),
    np.array([0, 2, 2, 3], np.int64),
    np.array([1, 2, 0], np.int32),
    np.array([10, 20, 30], np.int64),
)


@pytest.fixture
def generations(cluster: Settings, tmp_path: Path) -> Iterator[HdfsGenerationFiles]:
    own = cluster.model_copy(update={"hdfs_root": f"{cluster.hdfs_root}/own_{os.urandom(4).hex()}"})
    with HdfsFiles(own) as files:
        yield HdfsGenerationFiles(files, tmp_path / "cache")
        files.remove("")


def put_graph(generations: HdfsGenerationFiles, folder: str, made: Path) -> None:
    write_graph(made, GRAPH)
    for array in made.iterdir():
        generations.put(array, f"{folder}/{array.name}")


def test_a_graph_is_read_where_it_was_not_written(generations: HdfsGenerationFiles, tmp_path: Path) -> None:
    put_graph(generations, "hrwiki/2025-03/g1/graph", tmp_path / "made")
    found = read_graph(generations.local("hrwiki/2025-03/g1/graph"))
    assert found.titles.to_pylist() == GRAPH.titles.to_pylist()
    for name in ("offsets", "targets", "clicks"):
        assert np.array_equal(getattr(found, name), getattr(GRAPH, name)), name


def test_what_is_not_there_is_not_copied(generations: HdfsGenerationFiles, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        generations.local("hrwiki/2025-03/g1/graph")
    assert not (tmp_path / "cache" / "hrwiki").exists()


def test_many_readers_copy_once_and_see_whole_files(
    generations: HdfsGenerationFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = "hrwiki/2025-03/g1/graph"
    put_graph(generations, folder, tmp_path / "made")
    torn = tmp_path / "cache" / f"{folder}.part"
    torn.mkdir(parents=True)
    (torn / "clicks.npy").write_bytes(b"a process died here")
    got, get = [], HdfsFiles.get_file

    def counted(self: HdfsFiles, path: str, local: Path) -> None:
        got.append(path)
        get(self, path, local)

    monkeypatch.setattr(HdfsFiles, "get_file", counted)
    sums: list[int] = []
    threads = [
        threading.Thread(target=lambda: sums.append(int(read_graph(generations.local(folder)).clicks.sum())))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sums == [60] * 6
    assert len(got) == len(set(got)) == len(list((tmp_path / "made").iterdir()))
    assert not torn.exists()


def test_copies_go_with_their_generation_and_what_is_mapped_stays(
    generations: HdfsGenerationFiles, tmp_path: Path
) -> None:
    elsewhere = HdfsGenerationFiles(generations.files, tmp_path / "another machine")
    for generation in ("g1", "g2"):
        put_graph(generations, f"hrwiki/2025-03/{generation}/graph", tmp_path / generation)
    old = read_graph(generations.local("hrwiki/2025-03/g1/graph"))
    elsewhere.local("hrwiki/2025-03/g1/graph")
    generations.remove("hrwiki/2025-03/g1")
    generations.remove("hrwiki/2025-03/g1")
    assert not (generations.cache / "hrwiki/2025-03/g1").exists()
    assert old.clicks.tolist() == [10, 20, 30]
    elsewhere.local("hrwiki/2025-03/g2/graph")
    assert [path.name for path in (elsewhere.cache / "hrwiki/2025-03").iterdir()] == ["g2"]
    with pytest.raises(FileNotFoundError):
        generations.local("hrwiki/2025-03/g1/graph")
