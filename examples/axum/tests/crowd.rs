//! The example service on axum under ten thousand streams at once.

example_black_box::suite_crowd!("axum", env!("CARGO_BIN_EXE_example-axum"));
