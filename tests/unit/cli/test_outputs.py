from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from matte_cli.cut import result_line
from matte_cli.outputs import STDIO, Item, OutputError, Source, choose_format, collect, is_result, plan
from matte_core.contracts.job import JobState, JobView, ResultView


def targets(
    sources: list[Source], out: Path | None = None, *, output: str = "cutout", format_: str = "auto"
) -> list[str]:
    return [str(item.target) for item in plan(sources, out, output=output, format_=format_)]


def test_beside_the_picture_or_in_a_folder() -> None:
    source = Source(Path("a/photo.jpg"))
    assert targets([source]) == ["a/photo-cutout.png"]
    assert targets([source], output="mask", format_="webp") == ["a/photo-mask.webp"]
    assert targets([source], Path("out")) == ["out/photo-cutout.png"]
    assert targets([source], Path("cut.png")) == ["cut.png"]


def test_folders_below_a_folder_are_kept() -> None:
    assert targets([Source(Path("in/x/a.jpg"), Path("x"))], Path("out")) == ["out/x/a-cutout.png"]


def test_two_kinds_of_one_name_do_not_collide() -> None:
    both = [Source(Path("a.jpg")), Source(Path("a.png"))]
    assert targets(both) == ["a-jpg-cutout.png", "a-png-cutout.png"]


def test_standard_streams() -> None:
    assert targets([Source(STDIO)]) == ["-"]
    assert targets([Source(Path("a.jpg"))], STDIO) == ["-"]
    assert targets([Source(STDIO)], Path("out")) == ["out/stdin-cutout.png"]


def test_an_existing_folder_with_a_dot_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "cut.outs"
    folder.mkdir()
    assert targets([Source(Path("a.jpg"))], folder) == [str(folder / "a-cutout.png")]


@pytest.mark.parametrize(
    ("sources", "out", "word"),
    [
        (["a.jpg", "b.jpg"], "c.png", "one file"),
        (["a.png"], "a.png", "replaced"),
        (["x/a.jpg", "y/a.jpg"], "out", "more than one"),
        (["x/a.jpg", "x/a.jpg"], None, "more than one"),
    ],
)
def test_refused(sources: list[str], out: str | None, word: str) -> None:
    with pytest.raises(OutputError, match=word):
        targets([Source(Path(name)) for name in sources], Path(out) if out else None)


def test_the_mask_beside_the_cutout() -> None:
    assert Item(Path("a.jpg"), Path("o/a-cutout.png")).mask_target == Path("o/a-mask.png")
    assert Item(Path("a.jpg"), Path("o/b.webp")).mask_target == Path("o/b-mask.webp")


def test_both_are_planned_and_told() -> None:
    (item,) = plan([Source(Path("a.jpg"))], Path("o"), output="both", format_="auto")
    assert item.targets == (Path("o/a-cutout.png"), Path("o/a-mask.png"))
    with pytest.raises(OutputError, match="would be replaced"):
        plan([Source(Path("a.jpg")), Source(Path("a-mask.png"))], None, output="both", format_="auto")


def test_what_was_cut_is_told_as_people_say_it() -> None:
    view = JobView(id="j", state=JobState.SUCCEEDED, model="m", created_at=0)
    assert result_line(Item(STDIO, STDIO), view) == "standard input → standard output"
    assert (
        result_line(Item(Path("a.jpg"), Path("a-cutout.png"), both=True), view) == "a.jpg → a-cutout.png and a-mask.png"
    )


@pytest.mark.parametrize(
    ("foreground", "uncertainty", "remark"),
    [
        ("none", 0.0, " (no subject was found)"),
        ("none", 0.9, " (no subject was found)"),
        ("found", None, ""),
        ("found", 0.19, ""),
        ("found", 0.31, " (uncertain edges: 31% of the subject may be wrong)"),
    ],
)
def test_what_to_look_out_for_is_told(
    foreground: Literal["found", "none"], uncertainty: float | None, remark: str
) -> None:
    result = ResultView(
        model="m", version="1", digest="", arm="1", width=1, height=1, foreground=foreground, uncertainty=uncertainty,
        files={},
    )  # fmt: skip
    view = JobView(id="j", state=JobState.SUCCEEDED, model="m", created_at=0, result=result)
    assert result_line(Item(Path("a.jpg"), Path("b.png")), view) == f"a.jpg → b.png{remark}"


def test_format_follows_the_name() -> None:
    assert choose_format("auto", Path("a.webp")) == "webp"
    assert choose_format("png", Path("folder")) == "png"
    assert choose_format("auto", STDIO) == "auto"
    for asked, out in [("auto", "a.jpg"), ("png", "a.webp")]:
        with pytest.raises(OutputError):
            choose_format(asked, Path(out))


def test_collect_takes_pictures_and_leaves_results(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "a-cutout.png", "a-mask.png", "notes.txt", "sub/c.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    flat = collect([tmp_path], recursive=False)
    assert [source.path.name for source in flat] == ["a.png", "b.JPG"]
    deep = collect([tmp_path], recursive=True)
    assert Source(tmp_path / "sub/c.webp", Path("sub")) in deep
    assert len(deep) == 3
    with pytest.raises(OutputError, match="no such"):
        collect([tmp_path / "absent.jpg"], recursive=False)


def test_a_named_result_is_cut_all_the_same(tmp_path: Path) -> None:
    picture = tmp_path / "a-cutout.png"
    picture.touch()
    assert is_result(picture)
    assert collect([picture], recursive=False) == [Source(picture)]
