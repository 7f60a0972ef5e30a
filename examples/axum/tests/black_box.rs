//! The example service on axum, judged over real sockets.

example_black_box::suite!("axum", env!("CARGO_BIN_EXE_example-axum"));
