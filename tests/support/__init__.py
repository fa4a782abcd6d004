"""What tests of several rooms share: inputs, engines, servers, training runs."""
