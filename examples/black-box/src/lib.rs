//! One black-box suite over real sockets that judges every adapter example.
//!
//! Each example starts as a process of its own, on a free port and a database of its own, and is asked over HTTP only;
//! what it recorded is read through its own routes. An example's integration test is one line:
//!
//! ```ignore
//! example_black_box::suite!("axum", env!("CARGO_BIN_EXE_example-axum"));
//! ```
//!
//! Where a stack cannot do what the others do, it has a row in the table of [`Exception`]s, and its README says so.

#![allow(
    clippy::panic,
    reason = "this is the body of tests: a panic with what was seen is how it answers"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "it judges another process, whose clock is the real one"
)]

mod api;
mod client;
mod exceptions;
mod http2;
mod judge;
mod moment;
mod process;
mod service;
mod suite;
mod wait;
mod watch;

// The public interface is:
pub use exceptions::Exception;
pub use judge::admin::{
    bad_request_for_a_token_is_the_clients_error, issued_admin_token_can_administer,
    list_of_tokens_holds_no_secret, name_is_unique_for_one_owner_only,
    odd_request_for_a_token_is_no_server_error, route_out_of_scope_is_denied_and_recorded,
    unknown_token_id_is_not_found,
};
pub use judge::bad_input::{
    garbage_instead_of_a_request_is_refused, header_that_is_no_text_does_no_harm,
    long_user_agent_is_recorded, odd_path_is_no_server_error, oversized_request_is_refused,
    request_without_a_user_agent_is_recorded,
};
pub use judge::bodies::{
    body_that_fails_is_a_server_error, client_that_leaves_before_the_head_is_unfinished,
    client_that_leaves_in_the_middle_of_a_stream_is_unfinished,
    head_request_is_settled_at_its_head, panic_is_a_server_error_and_the_service_goes_on,
    stream_is_recorded_to_its_last_byte, stream_of_known_length_is_settled_at_its_last_byte,
};
pub use judge::bodies_in::{
    body_in_garbled_chunks_is_refused, body_longer_than_declared_is_one_request,
    body_shorter_than_declared_is_no_success, request_of_two_lengths_smuggles_nothing,
};
pub use judge::crowd::crowd_of_streams_is_recorded_one_each;
pub use judge::end_of_life::{
    dead_token_reaches_no_handler, expired_token_is_refused_with_its_own_reason,
    name_of_a_revoked_token_is_free_again, revoked_token_is_refused_by_its_next_request,
    revoked_token_is_refused_under_load,
};
pub use judge::http2::{
    chunked_stream_is_recorded_at_its_trailers,
    http2_connection_that_is_dropped_leaves_each_stream_unfinished,
    http2_refusal_has_its_challenge, http2_requests_are_recorded_once_as_answered,
    http2_stream_is_recorded_at_its_trailers, http2_stream_reset_before_its_head_is_unfinished,
    http2_stream_reset_in_its_middle_is_unfinished, http2_streams_at_once_are_recorded_one_each,
};
pub use judge::identity::{
    identity_of_issued_tokens_is_told, identity_of_printed_tokens_is_told,
    last_use_is_null_before_the_first_request_and_a_time_after, token_without_scopes_has_none,
};
pub use judge::odd_requests::{
    absolute_target_is_recorded_under_its_route, many_header_fields_are_served_or_refused,
    options_of_the_whole_server_are_recorded_under_no_route,
    unusual_method_is_refused_and_never_taken_for_another,
};
pub use judge::proxied::{
    client_behind_a_trusted_proxy_is_told_by_its_one_header, nobody_is_a_trusted_proxy_unless_said,
};
pub use judge::records::{
    items_are_recorded_once_as_answered, own_records_are_newest_first_and_limited,
    plain_routes_are_recorded_once_as_answered, requests_on_one_connection_are_recorded_one_each,
    route_shows_no_path_and_no_query, unknown_route_is_recorded_as_unmatched,
};
pub use judge::refusals::{
    bad_tokens_are_invalid_strangers_without_a_record,
    request_without_a_token_is_challenged_without_an_error, scheme_is_case_insensitive,
    two_credentials_in_one_request_are_refused_without_a_record,
};
pub use judge::restart::{
    files_are_their_owners_alone, interrupt_ends_the_service_well,
    request_in_flight_is_answered_before_the_service_ends, tokens_and_records_survive_a_restart,
};
pub use judge::restrictions::{
    bad_restriction_is_the_clients_error, suspended_token_is_refused_until_it_is_resumed,
    token_of_another_network_is_denied_and_recorded,
    token_over_its_quota_is_told_when_to_come_back,
};
pub use judge::slow::{
    connections_that_hardly_begin_are_cut_off, slow_heads_are_cut_off, slow_heads_hold_up_nobody,
};
pub use judge::slow_store::slow_store_does_not_hold_up_others;
pub use judge::start::{
    directory_in_place_of_the_database_is_named, file_of_a_newer_schema_is_left_alone,
    file_that_is_no_database_is_left_alone, health_check_wants_no_token_and_is_never_recorded,
    locked_database_is_waited_for_or_named, port_in_use_ends_the_service_with_a_message,
    port_that_is_no_number_is_named, service_prints_where_it_listens_and_three_tokens,
    signing_key_that_is_cut_short_is_named, silent_connections_do_not_block_others,
};
pub use judge::storage::{
    storage_fault_during_authentication_is_503, storage_fault_during_recording_fails_no_request,
};
pub use judge::usage::{
    bounds_of_days_and_limit_are_kept, burst_is_counted_to_the_last_record,
    summary_adds_up_with_what_was_sent, summary_of_a_new_token_is_of_nothing,
};
pub use service::{Home, Service};
pub use suite::Stack;
