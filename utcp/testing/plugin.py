"""The pytest plugin with the fixture `simnet`, under a name within utcp: `pytest -p utcp.testing.plugin`.

The plugin is the module `pytest_aioutcp`, which pytest loads by itself where utcp is installed.
"""

pytest_plugins = ["pytest_aioutcp"]
