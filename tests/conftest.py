"""For all tests: the fixture `simnet`, also where utcp is not installed; the ledger of requirements."""

pytest_plugins = ["utcp.testing.plugin", "pytester", "tests.conformance.ledger"]
