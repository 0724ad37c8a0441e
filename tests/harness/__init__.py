"""What the tests of the real binary share: starting brokers, waiting on conditions."""
