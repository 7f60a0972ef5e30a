//! The example service on rocket, judged over real sockets.

example_black_box::suite!(
    env!("CARGO_BIN_EXE_example-rocket"),
    example_black_box::Exceptions { ..Default::default() }
);
