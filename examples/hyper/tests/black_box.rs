//! The example service on hyper, judged over real sockets.

example_black_box::suite!("hyper", env!("CARGO_BIN_EXE_example-hyper"));
example_black_box::suite_http2!("hyper", env!("CARGO_BIN_EXE_example-hyper"));
