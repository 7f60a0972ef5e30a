//! The example service on actix-web, judged over real sockets.

example_black_box::suite!(env!("CARGO_BIN_EXE_example-actix-web"));
