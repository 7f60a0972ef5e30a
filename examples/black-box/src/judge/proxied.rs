//! Whoever may say who he is can be anybody: only a proxy that is named is believed, and only by the field that it sets.

use crate::client::Request;
use crate::service::{Home, Service};
use crate::suite::Stack;
use crate::watch::Watch;

const CLAIMS: [(&str, &str); 3] =
    [("Forwarded", "for=192.0.2.7"), ("X-Forwarded-For", "192.0.2.8"), ("X-Real-IP", "192.0.2.9")];

/// The address that is recorded of a request with these fields.
fn recorded(watch: &mut Watch<'_>, fields: &[(&'static str, &str)]) -> String {
    let request = fields
        .iter()
        .fold(Request::get("/hello/x"), |request, (name, value)| request.header(name, *value));
    watch.send(request).expect_status(200);
    watch.next().client_address
}

/// By default what a client says of its address is not believed, whatever the field.
pub fn nobody_is_a_trusted_proxy_unless_said(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "opaque");
    for claim in CLAIMS {
        assert_eq!(recorded(&mut watch, &[claim]), "127.0.0.1", "{claim:?}");
    }
    assert_eq!(recorded(&mut watch, &CLAIMS), "127.0.0.1");
}

/// Behind a proxy that is named, the client is who the proxy says, in the field that it sets, and nobody whom the client
/// put before that.
pub fn client_behind_a_trusted_proxy_is_told_by_its_one_header(stack: &Stack) {
    for (variable, one, forged, real) in [
        ("FORWARDED_FROM", "Forwarded", "for=10.0.0.1, for=192.0.2.7", "192.0.2.7"),
        ("X_FORWARDED_FOR_FROM", "X-Forwarded-For", "10.0.0.1, 192.0.2.8", "192.0.2.8"),
    ] {
        let home = Home::fresh();
        let mut command = home.command(stack.binary);
        let service = Service::run(command.env(variable, "192.0.2.128/25, 127.0.0.0/8"), &home);
        let mut watch = Watch::new(&service, "jwt");
        assert_eq!(recorded(&mut watch, &CLAIMS), real, "{variable}");
        assert_eq!(recorded(&mut watch, &[(one, forged)]), real, "{variable}");
        assert_eq!(recorded(&mut watch, &[]), "127.0.0.1", "{variable}");
    }
    let home = Home::fresh();
    let mut command = home.command(stack.binary);
    let service = Service::run(command.env("FORWARDED_FROM", "192.0.2.128/25"), &home);
    let mut watch = Watch::new(&service, "opaque");
    assert_eq!(recorded(&mut watch, &CLAIMS), "127.0.0.1", "the peer is none of them");
}
