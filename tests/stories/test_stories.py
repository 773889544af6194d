"""Every story under `tests/stories/` holds, on both databases."""

from pathlib import Path

import pytest

from tests.stories.runner import Story, StoryFailedError

HERE = Path(__file__).resolve().parent
STORIES = sorted(HERE.glob("*.txt"))


@pytest.mark.parametrize("story", STORIES, ids=[path.stem for path in STORIES])
async def test_story(story: Path, tmp_path: Path, store_url: str) -> None:
    """Each line does what it says, or is true."""
    await Story(story, tmp_path / "gateway", database=store_url).play()


async def test_a_story_can_fail(tmp_path: Path) -> None:
    """A line that does not hold names file, line and answer: a runner that never fails would prove nothing."""
    told = tmp_path / "false.txt"
    told.write_text("# a story\nGET /v1/problems\nstatus 200\nbody lacks not-found\n", encoding="utf-8")
    with pytest.raises(StoryFailedError, match=r"false.txt:4: body lacks not-found"):
        await Story(told, tmp_path / "gateway").play()


async def test_an_unknown_word_fails(tmp_path: Path) -> None:
    """A misspelt line is no silent pass."""
    told = tmp_path / "odd.txt"
    told.write_text("GET /v1/problems\nbdy contains x\n", encoding="utf-8")
    with pytest.raises(StoryFailedError, match="no word of a story"):
        await Story(told, tmp_path / "gateway").play()
