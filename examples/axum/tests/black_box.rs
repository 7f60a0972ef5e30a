//! The example service on axum, judged over real sockets.

example_black_box::suite!("axum", env!("CARGO_BIN_EXE_example-axum"));
example_black_box::suite_http2!("axum", env!("CARGO_BIN_EXE_example-axum"));
example_black_box::suite_proxied!("axum", env!("CARGO_BIN_EXE_example-axum"));
