//! The example service on tiny_http, judged over real sockets.

example_black_box::suite!(
    env!("CARGO_BIN_EXE_example-tiny-http"),
    example_black_box::Exceptions { never_cancels_handlers: true, ..Default::default() }
);
