//! The example service on rocket, judged over real sockets.

example_black_box::suite!("rocket", env!("CARGO_BIN_EXE_example-rocket"));
