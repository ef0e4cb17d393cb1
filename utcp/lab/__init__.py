"""The laboratory: experiments with the scenes of `utcp demo`, in a simulated network (`utcp lab`).

    from utcp.lab import Experiment, run

    result = run(Experiment.from_address("lost-last-ack?lose=9&msl=2"))

An experiment is a value: a scene, its settings, and edits of single packets. `run()` returns what happened, as JSON.
The same experiment gives the same packets at the same times.
"""

from utcp.lab.compare import compare
from utcp.lab.exercises import EXERCISES, check
from utcp.lab.experiment import Experiment
from utcp.lab.respond import respond
from utcp.lab.run import run
from utcp.lab.settings import ExperimentError

__all__ = ["EXERCISES", "Experiment", "ExperimentError", "check", "compare", "respond", "run"]
