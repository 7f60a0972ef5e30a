//! The example, judged from outside.

example_black_box::suite!(env!("CARGO_BIN_EXE_example-hyper"));
