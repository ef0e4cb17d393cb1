"""A scene offers the settings that make a difference there, and no others."""

import pytest

from tests.lab.offered import makes_a_difference, offered
from utcp.lab.catalogue import OFFERED
from utcp.lab.experiment import OWN, SCENES
from utcp.lab.settings import SETTINGS


@pytest.mark.parametrize("scene", SCENES)
def test_each_scene_has_an_offer(scene: str) -> None:
    both = [*OFFERED[scene].first, *OFFERED[scene].others]
    assert len(set(both)) == len(both)
    assert set(both) <= set(SETTINGS)


@pytest.mark.parametrize(("scene", "name"), [(scene, name) for scene in SCENES for name in OFFERED[scene].first])
def test_the_first_settings_make_a_difference(scene: str, name: str) -> None:
    assert makes_a_difference(scene, name)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scene", [scene for scene in SCENES if scene != OWN])
def test_the_offer_is_what_makes_a_difference(scene: str) -> None:
    assert set(offered(scene)) == {*OFFERED[scene].first, *OFFERED[scene].others}
