//! The example service on poem, judged over real sockets.

example_black_box::suite!(
    env!("CARGO_BIN_EXE_example-poem"),
    example_black_box::Exceptions { ..Default::default() }
);
