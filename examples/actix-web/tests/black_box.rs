//! The example service on actix-web, judged over real sockets.

example_black_box::suite!("actix-web", env!("CARGO_BIN_EXE_example-actix-web"));
