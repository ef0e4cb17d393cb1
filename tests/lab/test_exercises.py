"""Each exercise is solved by its solution, and not by the scene from which it starts."""

import pytest

from utcp.lab import EXERCISES, Experiment, ExperimentError, check
from utcp.lab.words import tables

each = pytest.mark.parametrize("name", EXERCISES)


@each
def test_the_solution_solves_it(name: str) -> None:
    exercise = EXERCISES[name]
    solution = Experiment.from_address(exercise.solution)
    assert solution.to_address() == exercise.solution
    for language in ("en", "zh"):
        found = check(name, solution, language)
        assert found == {"solved": True, "text": exercise.solved.in_(language)}


@each
def test_the_start_does_not(name: str) -> None:
    exercise = EXERCISES[name]
    assert check(name, Experiment.from_address(exercise.start)) == {"solved": False, "text": exercise.missing.en}


def test_another_scene_is_named() -> None:
    assert check("syn-again", Experiment(scene="three-way"))["text"] == (
        "This exercise is about another scene. It starts at four-way."
    )


def test_an_unknown_exercise_is_named() -> None:
    with pytest.raises(ExperimentError, match="No exercise is called 'nothing'"):
        check("nothing", Experiment(scene="four-way"))


def test_they_go_from_easy_to_hard() -> None:
    levels = [exercise.level for exercise in EXERCISES.values()]
    assert levels == sorted(levels)
    assert len(levels) >= 10


def test_every_text_belongs_to_an_exercise() -> None:
    assert set(tables("exercises")) == set(EXERCISES)
