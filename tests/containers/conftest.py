"""What is deployed in these tests."""

from deployed import artifact, release, street  # noqa: F401 (fixtures)
