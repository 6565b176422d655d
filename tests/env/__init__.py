"""What the tests run against: real servers from package registries, started on the loopback interface."""
