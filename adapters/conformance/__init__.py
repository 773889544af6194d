"""The checks of the conformance suite, by subject; authors import `adapters.suite`."""
