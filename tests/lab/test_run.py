"""An experiment's run: equal to `utcp demo` without edits, the same every time, and true about its edits."""

import json

import pytest

from utcp.lab import Experiment, run
from utcp.lab.experiment import SCENES
from utcp.lab.play import play
from utcp.scenes import NAMES, load

each = pytest.mark.parametrize("name", NAMES)


@each
def test_without_edits_it_is_the_scene(name: str) -> None:
    played, scene = play(Experiment(scene=name)), load(name).play()
    assert played.rungs == scene.rungs
    assert tuple(played.exhibits) == scene.exhibits
    assert not played.checks
    assert played.ending[0] == "finished"


@pytest.mark.parametrize("name", SCENES)
def test_every_segment_has_the_number_of_its_packet(name: str) -> None:
    played = play(Experiment(scene=name))
    segments = [index for index, rung in enumerate(played.rungs) if rung.arrow is not None]
    assert list(played.numbers) == segments
    assert len(set(played.numbers.values())) == len(segments)


@pytest.mark.parametrize(
    "address",
    [*SCENES, "four-way?msl=2&lose=3&delay=7:0.3&duplicate=9:1&corrupt=11&inject=client@1.2:RST", "own?lose=5&lose=9"],
)
def test_the_same_address_gives_the_same_octets(address: str) -> None:
    first, second = (json.dumps(run(Experiment.from_address(address))) for _ in range(2))
    assert first == second
