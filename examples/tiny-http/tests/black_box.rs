//! The example service on tiny-http, judged over real sockets.

example_black_box::suite!("tiny-http", env!("CARGO_BIN_EXE_example-tiny-http"));
