"""The documents name what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from installing import ROOT

DOCS = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("*.md"), *ROOT.glob("sample/*.md")])
README_WORDS = 900  # a stranger reads it in a few minutes


def code_spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def prose(text: str) -> str:
    """Markdown without its fenced blocks, which hold no headings and no links."""
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors_of(text: str) -> set[str]:
    """What may stand behind `#` in a link to a page, as GitHub makes it of the page's headings.

    Lower case, without punctuation, a hyphen for each space; a heading that comes again gets `-1`, `-2` and so on.
    """
    found: dict[str, int] = {}
    anchors = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", prose(text), re.MULTILINE):
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        anchors.add(f"{anchor}-{found[anchor]}" if anchor in found else anchor)
        found[anchor] = found.get(anchor, 0) + 1
    return anchors


def links_in(text: str) -> list[str]:
    """Targets of the links and pictures of a page that do not lead into the web."""
    found = re.findall(r"\]\(\s*([^)\s]+)[^)]*\)", prose(text))
    return [target for target in found if "://" not in target and not target.startswith("mailto:")]


def test_anchors_are_made_as_github_makes_them() -> None:
    text = (
        "# The `villa` command\n## Boxes, points\n## Boxes, points\n```\n# a comment\n```\n### [A](b.md) link: why?\n"
    )
    assert anchors_of(text) == {"the-villa-command", "boxes-points", "boxes-points-1", "a-link-why"}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_to_a_file_and_to_a_heading_in_it(path: Path) -> None:
    wrong = []
    for target in links_in(path.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        page = path.parent / name if name else path
        if not page.exists():
            wrong.append(f"{target}: no such file")
        elif anchor and (page.suffix != ".md" or anchor not in anchors_of(page.read_text(encoding="utf-8"))):
            wrong.append(f"{target}: no such heading")
    assert not wrong, f"{path.name} has links that lead nowhere"


def test_every_page_is_reached_from_the_readme() -> None:
    """Nobody finds a page that no link leads to."""
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            names = (target.partition("#")[0] for target in links_in(page.read_text(encoding="utf-8")))
            waiting += [page.parent / name for name in names if name]
    assert not {page.name for page in ROOT.glob("docs/*.md")} - {page.name for page in reached}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_files_and_make_targets_that_a_document_names_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for span in code_spans(text):
        if re.fullmatch(r"(requirements|msg|config|docs|sample|test|launch)/[\w./-]+\.\w+", span):
            assert (ROOT / span).exists(), f"{path.name} names {span}"
    named = re.findall(r"(?:^|`)(?:\$ )?make ([a-z][a-z-]*)\b", text, re.MULTILINE)
    assert set(named) <= makefile_targets(), f"{path.name} names a target that is not there"


def test_every_interface_is_described() -> None:
    text = (ROOT / "docs" / "messages.md").read_text(encoding="utf-8")
    for path in [*(ROOT / "msg" / "msg").glob("*.msg"), *(ROOT / "msg" / "action").glob("*.action")]:
        assert re.search(rf"\b{path.stem}\b", text), path.stem


def test_every_topic_service_and_action_of_the_node_is_described() -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2 (pip: ros-rclpy)")
    from villa_ros.node.depth_topics import DEPTH_TOPICS
    from villa_ros.node.image_topics import IMAGE_TOPICS

    text = (ROOT / "docs" / "messages.md").read_text(encoding="utf-8")
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "villa_ros" / "node").glob("*.py"))
    topics = {re.sub(r"\{\w+\}", "<camera>", name) for name in re.findall(r'f?"(~/[\w{}/]+)"', sources)}
    topics.remove("~/<camera>/<camera>")  # the derived topics, whose names are in tables
    derived = {f"~/<camera>/{topic.name}" for topic in (*IMAGE_TOPICS, *DEPTH_TOPICS)}
    assert {"~/<camera>/overlay", "~/<camera>/objects_3d", "~/<camera>/markers"} <= derived
    assert {"~/<camera>/tracks", "~/command", "~/segment_video"} <= topics
    assert not {name for name in topics | derived if f"`{name}`" not in text}


def test_every_requirements_file_is_described() -> None:
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    for path in (ROOT / "requirements").glob("*.txt"):
        assert f"requirements/{path.name}" in text


def test_the_reader_of_masks_in_the_documentation_reads_masks() -> None:
    """The example is code that users copy, so it runs here against the encoder."""
    import numpy as np

    masks = pytest.importorskip("villa.masks", reason="needs OpenCV: pip install -r requirements/opencv.txt")
    text = (ROOT / "docs" / "messages.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    mask = np.zeros((9, 12), bool)
    mask[2:7, 3:9] = True
    mask[4, 5] = False
    coded = masks.encode(mask)

    class Message:
        height, width, area, runs = coded.height, coded.width, coded.area, coded.runs

        class roi:  # noqa: N801
            x_offset, y_offset, width, height = coded.x, coded.y, coded.box_width, coded.box_height

    assert np.array_equal(names["to_array"](Message), mask)  # type: ignore[operator]


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= README_WORDS


def test_the_example_of_the_readme_segments_the_sample(capsys: pytest.CaptureFixture[str]) -> None:
    """The first code that a stranger runs: the shipped model on frames of the bag that ships."""
    torch = pytest.importorskip("torch", reason="needs PyTorch: make setup")
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        exec(example, {})
    finally:
        torch.set_num_threads(threads)
    answer, found = capsys.readouterr().out.strip().splitlines()
    name, score, areas = re.fullmatch(r"(.*) (\S+) \[(.*)\]", found).groups()  # type: ignore[union-attr]
    assert answer == "The red mug."
    assert f"print(answer.text)  # {answer}\n" in example
    assert name == "red mug"
    assert float(score) > 0.5
    assert all(int(area) > 1000 for area in areas.split(", "))
