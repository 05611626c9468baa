"""The inputs that users' faults were found with, one test a case, through the command line.

They lie beside the repository; without them these tests are skipped. What each shows is tested by
its kind beside the code as well.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from captions.chat_server import Reply, Served, serve
from crafts import cli
from crafts.core.locks import lock_file

CASES = Path(__file__).parents[2] / "shared/cases"
NAMES = (
    "01-reports-backslash-quotes 02-tables-unquoted-commas 03-metadata-open-quote "
    "05-dicom-concatenation 06-sixteen-bit-colour 07-filesystem-without-flock-or-dirsync "
    "10-metadata-table-not-seen 11-excel-semicolons 13-llm-server-answers "
    "14-he-stored-as-channels 16-huge-region-mask csv-outside encode-batch exif-phi fifo "
    "json-faults nan-weights no-manifest parquet-manifest prune-leftover report-instructions "
    "sample-provenance summarise-no-lock yaml-faults"
).split()
PLACES = [(x, y) for y in range(0, 256, 64) for x in range(0, 256, 64)]
ALL = ["--set", "max_reject_fraction=1"]
BARE = [
    *("--size", "64", "--set", "tissue.method=none", "--set", "gates.flat=0"),
    *("--set", "gates.blur=0", "--set", "gates.pen=1"),
]

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not here")


@pytest.fixture
def case(tmp_path, monkeypatch):
    """Copy a case to a folder of its own, and work there."""

    def open_case(name: str) -> Path:
        folder = tmp_path / "case"
        shutil.copytree(CASES / name, folder)
        monkeypatch.chdir(folder)
        return folder

    return open_case


@pytest.fixture
def refused(capsys):
    """Run a command that has to fail, and give its code and its last line."""

    def run(*arguments: str) -> tuple[int, str]:
        code = cli.run(list(arguments))
        error = capsys.readouterr().err
        assert "Traceback" not in error
        return code, error

    return run


def crafts(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    source = Path(__file__).parents[1] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source)} | options.pop("env", {})
    command = [sys.executable, "-m", "crafts", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, **options)


def read_lines(path: str | Path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def counts(output: str) -> dict:
    return json.loads(Path(output, "manifest.json").read_text())["counts"]


def index(output: str) -> list[dict]:
    return pq.read_table(Path(output, "index.parquet")).to_pylist()


def test_every_case_has_its_test():
    assert sorted(path.name for path in CASES.iterdir()) == NAMES


def test_01_reports_with_quotes_behind_a_backslash(case):
    case("01-reports-backslash-quotes")
    assert cli.run(["summarise", "reports.csv", "--output", "out.jsonl"]) == 0
    rows, rejects = read_lines("out.jsonl"), read_lines("out.rejects.jsonl")
    assert len(rows) + len(rejects) == 40
    assert all(row["report_id"].startswith("CASE-") for row in rows)
    assert "Quimbly" not in Path("out.jsonl").read_text()


def test_02_rows_with_more_cells_than_columns(case, refused):
    case("02-tables-unquoted-commas")
    code, error = refused("summarise", "reports.csv", "--output", "out.jsonl")
    assert code == 3 and "2 of 3 items rejected" in error and "out.rejects.jsonl lists" in error
    assert all("cells" in row["reason"] for row in read_lines("out.rejects.jsonl"))
    tile = ["tile", "slides", *BARE, "--mpp", "1.25"]
    code, error = refused(*tile, "--mpp-csv", "mpp.csv", "--output", "out-mpp")
    assert code in (2, 3) and "row 1" in error
    code, error = refused(
        *tile, "--mpp-csv", "mpp-ok.csv", "--coordinates", "places.csv", "--output", "out-xy"
    )
    assert code in (2, 3) and "row 1" in error


def test_03_a_quote_that_is_never_closed(case, refused):
    case("03-metadata-open-quote")
    code, error = refused("pack", "tiles", "--output", "out")
    assert code == 3 and "row 4: a broken row (a quote" in error.replace("'", "")
    assert "out.rejects.jsonl lists" in error
    assert cli.run(["pack", "tiles", "--output", "out", *ALL]) == 0
    found = counts("out")
    assert found["listed"] == found["used"] + found["rejected"] == 24
    assert not [row for row in index("out") if row["key"].endswith("t03")]


@pytest.mark.parametrize("parts", ["both-jpeg", "both-rle", "second-only"])
def test_05_a_level_in_two_parts(case, refused, parts):
    case("05-dicom-concatenation")
    code, error = refused("tile", parts, *BARE, "--output", "out")
    if parts == "second-only" and code:
        assert code == 3 and "part" in error
        return
    assert code == 0
    truth = np.asarray(Image.open("truth.jpg").convert("RGB"), float)
    rows = [row for row in _csv("out/metadata.csv")]
    assert len(rows) == (8 if parts == "second-only" else 16)
    for row in rows:
        x, y = int(row["x"]), int(row["y"])
        tile = np.asarray(Image.open(Path("out", row["file_name"])).convert("RGB"), float)
        away = {(i, j): np.abs(tile - truth[j : j + 64, i : i + 64]).mean() for i, j in PLACES}
        assert min(away, key=away.get) == (x, y)


def _csv(path: str) -> list[dict[str, str]]:
    import csv

    with Path(path).open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_06_colour_of_sixteen_bits(case, refused):
    case("06-sixteen-bit-colour")
    code, error = refused("tile", "slides", "--size", "64", "--output", "out-slide")
    assert code == 3 and "16 bits" in error
    assert cli.run(["pack", "tiles", "--output", "out-tiles", *ALL]) == 0
    rejects = {row["item"]: row["reason"] for row in read_lines("out-tiles/rejects.jsonl")}
    assert {"u_12bit.png", "v_12bit.tif"} <= rejects.keys() and "16" in str(rejects)
    code, error = refused("pack", "masks", "--output", "out-masks", *ALL)
    assert code == 3 and "16" in error


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler")
def test_07_a_disk_without_locks_and_one_without_sync_of_folders(case):
    case("07-filesystem-without-flock-or-dirsync")
    for name in ("noflock", "nodirsync"):
        made = ["gcc", "-shared", "-fPIC", "-o", f"{name}.so", f"{name}.c"]
        subprocess.run(made, check=True)
    where = {name: {"LD_PRELOAD": f"./{name}.so"} for name in ("noflock", "nodirsync")}
    done = crafts("pack", "tiles", "--output", "out", env=where["noflock"])
    assert (done.returncode, "lock" in done.stderr) in ((0, True), (2, True))
    done = crafts("pack", "tiles", "--output", "out2", env=where["nodirsync"])
    assert done.returncode == 0 and counts("out2")["rejected"] == 0


@pytest.mark.parametrize("folder", ["metadata-csv", "metadata-tsv", "captions-jsonl"])
def test_10_a_table_under_another_name(case, refused, folder):
    case("10-metadata-table-not-seen")
    code, error = refused("pack", folder, "--output", "out")
    if code:
        assert "table" in error
    else:
        rows = index("out")
        assert len(rows) == 14 and sum(row["split"] == "heldout" for row in rows) == 5


def test_11_semicolons_of_a_spreadsheet(case):
    case("11-excel-semicolons")
    for folder in ("commas-in-text", "plain-text"):
        assert cli.run(["pack", folder, "--output", f"out-{folder}"]) == 0
        assert counts(f"out-{folder}")["rejected"] == 0
        assert all(row["text"] and row["patient"] for row in index(f"out-{folder}"))
    assert cli.run(["generate", "--manifest", "prompts.csv", "--dry-run", "--output", "o"]) == 0


def test_13_answers_of_servers(case, refused):
    case("13-llm-server-answers")
    number = len(_csv("reports.csv"))
    good = json.dumps(
        {
            "summary": "Invasive ductal carcinoma, right breast. Grade 2. Tumor size 2.1 cm. "
            "Margins negative."
        }
    )

    def summarise(server: Served) -> list[dict]:
        given = [f"server.base_url={server.url}", "server.model=NAME", "server.num_retries=0"]
        options = [part for one in given for part in ("--set", one)]
        output = ["--backend", "openai", "--output", "out.jsonl"]
        code, error = refused("summarise", "reports.csv", *output, *options)
        assert code == 0, error
        return read_lines("out.jsonl")

    with serve(lambda number, body: Reply(f"<think>\nGrade 2.\n</think>\n\n{good}")) as server:
        assert "JSON" not in str([row["rejected"] for row in summarise(server)])
    fault = '{"error": {"message": "response_format is not supported"}}'
    with serve(lambda number, body: Reply(status=400, body=fault)) as server:
        summarise(server)
        assert len(server.requests) <= min(number, 3)
    with serve(lambda number, body: Reply("", finish="length")) as server:
        assert "cut" in str([row["rejected"] for row in summarise(server)])


def test_14_colour_stored_as_three_channels(case):
    case("14-he-stored-as-channels")
    assert cli.run(["tile", "slides", "--size", "64", "--output", "out"]) == 0
    assert [row["imaging"] for row in _csv("out/metadata.csv")] == ["brightfield"] * 2


def test_16_a_huge_mask_of_a_region(case, refused):
    case("16-huge-region-mask")
    for folder in ("mask-400-mpx", "mask-121-mpx"):
        given = ["--mpp-csv", "mpp.csv", "--set", f"regions.folder={folder}", *BARE]
        code, error = refused("tile", "slides", "--output", f"out-{folder}", *given)
        assert "bomb" not in error.lower()
        assert (
            code == 0 and counts(f"out-{folder}")["used"] == 4 or "scale it down" in error.lower()
        )


def test_csv_outside(case, refused):
    case("csv-outside")
    refused("pack", "set", "--output", "out", *ALL)
    rows = index("out") if Path("out").is_dir() else []
    assert not [row for row in rows if "secret" in row["key"] or "private" in row["key"]]
    path = "out/rejects.jsonl" if rows else "out.rejects.jsonl"
    assert "no path of an image within the folder" in Path(path).read_text()


def test_encode_batch(case):
    folder = case("encode-batch") / "tiles"
    folder.mkdir(exist_ok=True)
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype="uint8")
        Image.fromarray(noise).save(folder / f"{number}.png")
    assert cli.run(["pack", "tiles", "--output", "sh"]) == 0
    for size in ("2", "1"):
        given = ["--set", "tile_size=64", "--set", "variants=1", "--set", f"batch_size={size}"]
        assert cli.run(["encode", "sh", "--output", f"lat{size}", *given]) == 0
    for name in ("mean.npy", "manifest.json"):
        assert Path("lat2", name).read_bytes() == Path("lat1", name).read_bytes()


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_exif_phi(case, kind):
    case("exif-phi")
    assert cli.run(["pack", kind, "--output", "out"]) == 0
    tars = list(Path("out").glob("*.tar"))
    assert tars and not any(b"CANARY" in tar.read_bytes() for tar in tars)


def test_fifo(case):
    case("fifo")
    Path("set").mkdir(exist_ok=True)
    Image.new("RGB", (64, 64)).save("set/a.png")
    os.mkfifo("set/f.png") if not Path("set/f.png").exists() else None
    assert cli.run(["pack", "set", "--output", "out", *ALL]) == 0
    assert "no regular file" in Path("out/rejects.jsonl").read_text()


@pytest.mark.parametrize("folder", ["deep", "bigint", "tar"])
def test_json_faults(case, refused, folder):
    case("json-faults")
    code, _ = refused("pack", folder, "--output", "out", "--set", "max_reject_fraction=0.9")
    assert code in (0, 3)
    assert read_lines("out/rejects.jsonl" if code == 0 else "out.rejects.jsonl")


def test_nan_weights(case, refused):
    case("nan-weights")
    subprocess.run(
        [sys.executable, "make.py"],
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
    )
    Path("nan-mini/trained_on.json").unlink()  # with it, it would be a folder of ours
    given = ["--prompt", "Prostate", "--num-steps", "1", "--output", "out"]
    code, error = refused("generate", "--model", "nan-mini", *given)
    assert code == 3 and "finite" in error
    code, error = refused("train", "r.yaml", "--output", "run")
    assert code == 3 and "finite" in error


def test_no_manifest(case):
    import crafts as package
    from crafts.core.errors import IntegrityError
    from crafts.model.segmenter import load_segmenter

    case("no-manifest")
    shutil.copytree(Path(package.__file__).parent / "weights/segmenter", "seg")
    Path("seg/manifest.json").unlink()
    weights = bytearray(Path("seg/model.safetensors").read_bytes())
    weights[-5000] ^= 64
    Path("seg/model.safetensors").write_bytes(weights)
    with pytest.raises(IntegrityError):
        load_segmenter(Path("seg"))


@pytest.mark.soak
def test_parquet_manifest(case):
    case("parquet-manifest")
    subprocess.run([sys.executable, "make.py"], check=True)
    limit = f"ulimit -v 6000000; {sys.executable} -m crafts generate --manifest big.parquet"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    command = ["bash", "-c", f"{limit} --preset fast --num-steps 1 --output out"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 3 and "Traceback" not in done.stderr


@pytest.mark.soak
def test_prune_leftover(case):
    case("prune-leftover")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    command = [sys.executable, "prune.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "step-0000002 whole"


def test_report_instructions(case):
    case("report-instructions")
    code = cli.run(["summarise", "reports.csv", "--output", "out.jsonl", "--tokens", "60", *ALL])
    rows = read_lines("out.jsonl")
    assert code == 0 and len(rows) >= 40
    assert not [row for row in rows if "melanoma" in row["summary"].lower()]


def test_sample_provenance(case):
    case("sample-provenance")
    assert cli.run(["train", "r.yaml", "--output", "run"]) == 0
    samples = list(Path("run/samples").glob("step-*.png"))
    assert samples
    assert all(b"trainedAlgorithmicMedia" in path.read_bytes() for path in samples)


def test_summarise_no_lock(case):
    case("summarise-no-lock")
    with lock_file(Path("out/s.jsonl")):
        assert cli.run(["summarise", "reports.csv", "--output", "out/s.jsonl"]) == 75
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    killing = (
        "import os, crafts.cli\n"
        "os.fsync = lambda handle: os.kill(os.getpid(), 9)\n"
        "crafts.cli.run(['summarise', 'reports.csv', '--output', 'out/s.jsonl'])\n"
    )
    subprocess.run([sys.executable, "-c", killing], env=environment, capture_output=True)
    assert cli.run(["summarise", "reports.csv", "--output", "out/s.jsonl"]) == 0
    assert sorted(os.listdir("out")) == ["s.jsonl", "s.manifest.json", "s.rejects.jsonl"]


@pytest.mark.parametrize("name", ["deep", "bigint", "laugh"])
def test_yaml_faults(case, refused, name):
    case("yaml-faults")
    code, error = refused("train", f"{name}.yaml", "--output", "out")
    assert code == 2 and len(error) < 2000


def test_a_huge_number_of_the_command_line(case, refused):
    case("yaml-faults")
    code, error = refused("pack", "x", "--output", "out", "--set", "seed=" + "1" * 6000)
    assert code == 2 and len(error) < 2000
