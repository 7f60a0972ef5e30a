//! The example service on poem, judged over real sockets.

example_black_box::suite!("poem", env!("CARGO_BIN_EXE_example-poem"));
