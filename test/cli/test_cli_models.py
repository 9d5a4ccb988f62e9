"""`villa info NAME`, `villa download` and `villa bench --models`: from a hub on this machine, at tiny size."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_hub import LocalHub, Repository, local_hub
from test_cli import villa
from tiny_configs import MLLM, SAM2, hub_files, write_config

from villa_ros.bench.model import ModelBenchError, Options, measure
from villa_ros.bench.model_report import REPORT, ModelBench, Timed, notes
from villa_ros.cli.models import read_named


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    return hub_files(tmp_path_factory.mktemp("published"))


@pytest.fixture
def hub(published: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A hub with the parts of the tiny configuration; `villa` asks it and no other."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    with local_hub({name: Repository(dict(files)) for name, files in published.items()}) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
        yield served


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "configs")


def lock_of(folder: Path) -> dict[str, dict[str, object]]:
    return json.loads((folder / "villa.lock.json").read_text())["parts"]


# -- info -------------------------------------------------------------------------------------------------------------


def test_info_says_what_is_trained_what_is_frozen_and_where_the_numbers_are_from() -> None:
    code, told, complained = villa("info", "qwen3vl-2b-sam2-small")
    assert code == 0, complained
    lines = {line.strip(): line for line in told.splitlines()}
    for frozen in ("vision encoder", "language layers", "SAM 2 image encoder", "SAM 2 memory", "SAM 2 mask decoder"):
        assert any(frozen in line and line.endswith("frozen") for line in lines), frozen
    for trained in (
        "LoRA adapters", "rows of [SEG] and [FRM]", "mask decoder copy", "ContextSynthesizer", "projection of [SEG]",
        "HierarchicalTemporalSynchronizer", "KeySegmentSampler", "track tokens",
    ):  # fmt: skip
        assert any(trained in line and line.endswith("trained") for line in lines), trained
    assert "2,195.7 M" in told
    assert "memory, bfloat16  weights 4.39 GB, keys and values 0.25 GB" in told
    assert "8 frames of 640x480 at 192 visual tokens" in told
    assert "Qwen/Qwen3-VL-2B-Instruct, apache-2.0; parameters published: 2,127,532,032, counted: 2,127,532,032" in told
    assert "qwen3-vl-2b.json" in told


def test_info_tells_a_doubtful_licence_and_the_shape_of_a_converted_model() -> None:
    code, told, _ = villa("info", "sa2va-4b")
    assert code == 0
    assert "licence in doubt: the component Qwen2.5-3B-Instruct is under qwen-research" in told
    assert "ByteDance/Sa2VA-4B" in told
    assert "compat:" in told


def test_info_of_an_unknown_name_lists_the_known_ones() -> None:
    code, told, complained = villa("info", "gpt")
    assert code == 1
    assert "no configuration is named 'gpt': known are qwen3vl-2b-sam2-small" in " ".join(complained.split())
    assert told == ""


# -- download ---------------------------------------------------------------------------------------------------------


def test_a_download_becomes_a_checkpoint_that_loads_and_says_that_it_is_untrained(
    hub: LocalHub, config: Path, tmp_path: Path, published: dict[str, dict[str, bytes]]
) -> None:
    from villa import ViLLa

    out = tmp_path / "out"
    code, told, complained = villa("download", config, "--out", out)
    assert code == 0, complained
    assert "untrained: its masks mean nothing before `villa tune`" in " ".join(told.split())
    for role, name in (("mllm", MLLM), ("sam2", SAM2)):
        part = lock_of(out)[role]
        assert part["repository"] == name
        assert part["revision"] == hub.repositories[name].revision
        files = {path.name: path.read_bytes() for path in (out / role).iterdir() if path.is_file()}
        assert set(part["files"]) == set(files)
        assert files.items() <= published[name].items()
        assert not [file for file in files if file.endswith((".py", ".bin", ".md"))]
    assert not [name for name in hub.sent if name.endswith((".py", ".bin", ".md"))]
    model = ViLLa.from_pretrained(out)
    assert model.config == read_named(str(config)).config


def test_a_second_download_fetches_nothing_and_leaves_the_model_as_it_is(
    hub: LocalHub, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    villa("download", config, "--out", out)
    hub.sent.clear()
    before = (out / "villa" / "model.safetensors").stat().st_mtime_ns
    lock = (out / "villa.lock.json").read_text()
    code, told, _ = villa("download", config, "--out", out)
    assert code == 0
    assert "left as it is" in told
    assert hub.sent == []
    assert (out / "villa" / "model.safetensors").stat().st_mtime_ns == before
    assert (out / "villa.lock.json").read_text() == lock


def test_another_revision_on_the_hub_is_refused_until_it_is_accepted(
    hub: LocalHub, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    villa("download", config, "--out", out)
    lock, old = (out / "villa.lock.json").read_text(), hub.repositories[MLLM].revision
    changed = hub.repositories[MLLM].files
    changed["tokenizer_config.json"] = b"{}"
    del changed["generation_config.json"]
    code, _, complained = villa("download", config, "--out", out)
    assert code == 1
    message = " ".join(complained.split())
    assert f"{MLLM} is at revision {hub.repositories[MLLM].revision} on the hub" in message
    assert old in message
    assert "--update" in message
    assert (out / "villa.lock.json").read_text() == lock
    assert not (out / "mllm" / "tokenizer_config.json").exists()
    code, said, complained = villa("download", config, "--out", out, "--update")
    assert code == 0, complained
    assert "was made over other files of mllm:" in said
    assert lock_of(out)["mllm"]["revision"] == hub.repositories[MLLM].revision
    assert (out / "mllm" / "tokenizer_config.json").read_bytes() == b"{}"
    assert not (out / "mllm" / "generation_config.json").exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_was_changed_on_the_disk_is_refused_and_put_right_by_an_update(
    hub: LocalHub, config: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    villa("download", config, "--out", out)
    right = (out / "sam2" / name).read_bytes()
    (out / "sam2" / name).write_bytes(right[:-1] + b" ")
    code, _, complained = villa("download", config, "--out", out)
    assert code == 1
    assert f"sam2/{name} has SHA-256" in "".join(complained.split("\n"))
    code, said, complained = villa("download", config, "--out", out, "--update")
    assert code == 0, complained
    assert "made over other files" not in said
    assert (out / "sam2" / name).read_bytes() == right


def test_a_file_that_is_missing_is_fetched_again_and_one_too_many_is_refused(
    hub: LocalHub, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    villa("download", config, "--out", out)
    (out / "mllm" / "tokenizer.json").unlink()
    assert villa("download", config, "--out", out)[0] == 0
    assert (out / "mllm" / "tokenizer.json").is_file()
    (out / "mllm" / "model-00001-of-00002.safetensors").write_bytes(b"of somebody else")
    code, _, complained = villa("download", config, "--out", out)
    assert code == 1
    assert "the lock says nothing of this file" in " ".join(complained.split())


def test_another_repository_in_the_same_folder_is_refused(hub: LocalHub, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    villa("download", config, "--out", out)
    part = config.parent / "parts" / "tiny-sam2.json"
    part.write_text(part.read_text().replace(SAM2, "tiny/other"))
    code, _, complained = villa("download", config, "--out", out)
    assert code == 1
    assert f"was fetched from {SAM2}, not from tiny/other" in " ".join(complained.split())


def test_a_repository_that_is_not_there_is_told_by_name(hub: LocalHub, config: Path, tmp_path: Path) -> None:
    del hub.repositories[SAM2]
    code, _, complained = villa("download", config, "--out", tmp_path / "out")
    assert code == 1
    assert f"the hub gives no access to {SAM2} (404)" in " ".join(complained.split())


def test_an_incomplete_part_makes_no_model(hub: LocalHub, config: Path, tmp_path: Path) -> None:
    del hub.repositories[SAM2].files["model.safetensors"]
    code, _, complained = villa("download", config, "--out", tmp_path / "out")
    assert code == 1
    assert "sam2 holds no weights" in " ".join(complained.split())
    assert not (tmp_path / "out" / "villa").exists()


def test_a_converted_model_is_fetched_whole_and_left_to_convert(hub: LocalHub, tmp_path: Path) -> None:
    config = write_config(tmp_path / "configs", converted_from="tiny/Sa2VA")
    hub.repositories = {"tiny/Sa2VA": Repository({"config.json": b"{}", "model.safetensors": b"x", "chat.py": b"y"})}
    out = tmp_path / "out"
    code, told, complained = villa("download", config, "--out", out)
    assert code == 0, complained
    assert f"villa convert {out / 'sa2va'} --out" in told
    assert {path.name for path in (out / "sa2va").iterdir() if path.is_file()} == {"config.json", "model.safetensors"}
    assert lock_of(out)["sa2va"]["repository"] == "tiny/Sa2VA"
    assert not (out / "villa").exists()


def test_the_small_default_cannot_be_downloaded(tmp_path: Path) -> None:
    code, _, complained = villa("download", "villa_small", "--out", tmp_path / "out")
    assert code == 2
    assert "not made of published parts" in " ".join(complained.split())


@pytest.mark.parametrize("broken", ["503", "closed"])
def test_without_a_hub_it_says_what_to_fetch_elsewhere_and_where_to_put_it(
    hub: LocalHub, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    hub.broken = broken == "503"
    if broken == "closed":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody listens
    out = tmp_path / "out"
    code, _, complained = villa("download", config, "--out", out)
    assert code == 1
    assert "the Hugging Face hub cannot be reached" in " ".join(complained.split())
    for role, name in (("mllm", MLLM), ("sam2", SAM2)):
        assert f"hf download {name} --include '*.json' --include '*.safetensors'" in complained
        assert f"--local-dir {role}\n" in complained
        assert str(out / role) in complained.replace("\n", "")
    assert complained.count("villa:") == 1


def test_an_offline_process_says_so_and_takes_what_was_put_there_by_hand(
    hub: LocalHub, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "villa_ros.cli.main", "download", str(config), "--out", str(out)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "HF_HUB_OFFLINE is set" in done.stderr
    villa("download", config, "--out", tmp_path / "elsewhere")
    for role in ("mllm", "sam2"):
        shutil.copytree(tmp_path / "elsewhere" / role, out / role)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "revision not known, put there by hand" in done.stdout
    assert lock_of(out)["mllm"]["revision"] is None
    # What was put there is held to the hub's as soon as there is one.
    code, _, complained = villa("download", config, "--out", out)
    assert code == 0, complained
    assert lock_of(out)["mllm"]["revision"] == hub.repositories[MLLM].revision


def test_a_damaged_lock_is_told_by_path(hub: LocalHub, config: Path, tmp_path: Path) -> None:
    (tmp_path / "villa.lock.json").write_text('{"format": "villa-lock-1"}')
    code, _, complained = villa("download", config, "--out", tmp_path)
    assert code == 1
    assert "villa.lock.json is damaged" in complained.replace("\n", "")


# -- bench ------------------------------------------------------------------------------------------------------------


def test_a_model_is_measured_part_by_part(config: Path, tmp_path: Path) -> None:
    code, told, complained = villa(
        "bench", "--models", config, "--device", "cpu", "--repeats", "2", "--model-objects", "1,3",
        "--answer-tokens", "7", "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 0, complained
    for line in ("image encoder", "prefill", "one token", "[FRM] pass", "3 objects", "first mask", "peak memory"):
        assert line in told, line
    (result,) = json.loads((tmp_path / "out" / REPORT).read_text())
    assert result["name"] == config.stem
    assert (result["frames"], result["answer_tokens"], result["dtype"]) == (3, 7, "float32")
    assert result["prompt_tokens"] > result["frames"] * result["visual_tokens"]
    assert set(result["fast"]) == {"1", "3"}
    times = [value for value in result.values() if isinstance(value, dict) and "ms" in value]
    assert len(times) == 10
    assert all(value["ms"] > 0 and value["repeats"] == 2 for value in [*times, *result["fast"].values()])
    assert result["first_mask"]["ms"] > 0
    assert result["peak_bytes"] > 1e8
    assert "resident" in result["peak_kind"]


def test_the_fast_pass_is_measured_with_full_memories(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from villa.modeling.segmenters.sam2.memory import Sam2Memory

    read: list[tuple[int, int]] = []
    plain = Sam2Memory.pointers

    def watched(self: Sam2Memory, now: int, most: int) -> object:
        read.append((len(self.spatial(now, 7)), len(plain(self, now, most))))
        return plain(self, now, most)

    monkeypatch.setattr(Sam2Memory, "pointers", watched)
    options = Options(device="cpu", dtype="bfloat16", objects=(2,), repeats=1, answer_tokens=4)
    assert measure(read_named(str(config)), options).dtype == "bfloat16"
    assert (7, 16) in read, "a seed, six spatial memories, and sixteen pointers"


def test_what_does_not_fit_is_refused_before_it_is_built(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("villa_ros.bench.model.free_bytes", lambda device: 1_000_000)
    with pytest.raises(ModelBenchError, match=r"needs 0\.01 GB for its weights in float32, 0\.00 GB are free on cpu"):
        measure(read_named(str(config)), Options(device="cpu"))


def test_one_that_cannot_be_measured_does_not_keep_the_others_from_it(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = measure(read_named(str(config)), Options(device="cpu", objects=(1,), repeats=1))

    def measured(named: object, options: Options) -> ModelBench:
        if named.name == "sa2va-8b":  # type: ignore[attr-defined]
            raise ModelBenchError("sa2va-8b needs a larger machine")
        return good

    monkeypatch.setattr("villa_ros.bench.model.measure_apart", measured)
    code, told, complained = villa("bench", "--models", "sa2va-8b", "--models", config, "--out", tmp_path / "out")
    assert code == 1
    assert "first mask" in told
    assert "1 of 2 configurations were not measured: sa2va-8b needs a larger machine" in " ".join(complained.split())


@pytest.mark.parametrize(
    ("arguments", "code", "wanted"),
    [
        (("--models", "gpt"), 1, "no configuration is named 'gpt'"),
        (("--models", "villa_small", "--dtype", "float16"), 1, "the type is 'float16': wanted float32 or bfloat16"),
        (("--models", "villa_small", "--model-objects", "five"), 2, "--model-objects is 'five'"),
        (("--models", "villa_small", "--device", "quantum"), 1, "device 'quantum' is not there"),
    ],
)
def test_wrong_wishes_are_told(arguments: tuple[str, ...], code: int, wanted: str, tmp_path: Path) -> None:
    seen, _, complained = villa("bench", *arguments, "--out", tmp_path / "out")
    assert seen == code
    assert wanted in " ".join(complained.split())
    assert not (tmp_path / "out").exists()


def test_a_killed_benchmark_leaves_no_process_behind(config: Path, tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil", reason="no psutil: pip install -r requirements/test.txt")
    command = [sys.executable, "-m", "villa_ros.cli.main", "bench", "--models", str(config), "--device", "cpu"]
    endless = ["--repeats", "1000000", "--budget", "600", "--out", str(tmp_path / "out")]
    bench = subprocess.Popen([*command, *endless], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120.0
        measuring: list[object] = []
        while not measuring and bench.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
            children = psutil.Process(bench.pid).children()
            measuring = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    finally:
        bench.kill()
        bench.wait(10.0)
    assert measuring, "no process of its own was begun"
    _, alive = psutil.wait_procs(measuring, timeout=60.0)
    for process in alive:
        process.kill()
    assert not alive


def test_aims_are_told_beside_what_was_measured_and_never_fail() -> None:
    one = Timed(10.0, 5)
    result = ModelBench(
        "qwen3vl-2b-sam2-small", "some card", "bfloat16", "2.13", 8, False, 1, 8, 192, 1700, 20,
        one, one, one, one, one, one, one, one, {5: Timed(30.0, 5)}, Timed(400.0, 5), one, int(13e9), "allocated",
    )  # fmt: skip
    (_, told) = notes([result])
    assert "first mask under 0.5 s: reached" in told
    assert "40 frames/s with 5 objects: not reached" in told
    assert "memory under 12 GB: not reached" in told
    assert "held against some card" in told
