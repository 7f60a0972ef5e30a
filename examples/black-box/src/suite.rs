//! What is judged, and the macro that turns the judgement into tests.

use crate::exceptions::{Exception, Row};
use crate::service::{Home, Service};

/// A binary under judgement.
#[derive(Clone, Copy, Debug)]
pub struct Stack {
    /// The path of the adapter example's binary.
    pub(crate) binary: &'static str,
    row: &'static Row,
}

impl Stack {
    /// The example of this name, with this binary.
    ///
    /// # Panics
    /// Where the table of exceptions has no row of this name.
    #[must_use]
    pub fn named(name: &str, binary: &'static str) -> Self {
        Self { binary, row: Row::of(name) }
    }

    /// Whether this is expected of it.
    pub(crate) fn has(&self, exception: Exception) -> bool {
        self.row.has(exception)
    }

    /// Starts it on a database of its own.
    pub(crate) fn start(&self) -> Service {
        Service::start(self.binary, &Home::fresh())
    }
}

/// Makes one test of every judgement for the example of this name and the path of its binary, as in
/// `suite!("axum", env!("CARGO_BIN_EXE_example-axum"))`.
#[macro_export]
macro_rules! suite {
    ($name:expr, $binary:expr $(,)?) => {
        $crate::tests_of! { $name, $binary,
            service_prints_where_it_listens_and_three_tokens
            health_check_wants_no_token_and_is_never_recorded
            port_in_use_ends_the_service_with_a_message
            file_that_is_no_database_is_left_alone
            silent_connections_do_not_block_others
            file_of_a_newer_schema_is_left_alone
            locked_database_is_waited_for_or_named
            directory_in_place_of_the_database_is_named
            port_that_is_no_number_is_named
            signing_key_that_is_cut_short_is_named
            request_without_a_token_is_challenged_without_an_error
            bad_tokens_are_invalid_strangers_without_a_record
            scheme_is_case_insensitive
            two_credentials_in_one_request_are_refused_without_a_record
            plain_routes_are_recorded_once_as_answered
            items_are_recorded_once_as_answered
            route_shows_no_path_and_no_query
            unknown_route_is_recorded_as_unmatched
            requests_on_one_connection_are_recorded_one_each
            own_records_are_newest_first_and_limited
            head_request_is_settled_at_its_head
            stream_is_recorded_to_its_last_byte
            stream_of_known_length_is_settled_at_its_last_byte
            body_that_fails_is_a_server_error
            client_that_leaves_in_the_middle_of_a_stream_is_unfinished
            client_that_leaves_before_the_head_is_unfinished
            panic_is_a_server_error_and_the_service_goes_on
            identity_of_printed_tokens_is_told
            identity_of_issued_tokens_is_told
            token_without_scopes_has_none
            last_use_is_null_before_the_first_request_and_a_time_after
            summary_adds_up_with_what_was_sent
            summary_of_a_new_token_is_of_nothing
            bounds_of_days_and_limit_are_kept
            burst_is_counted_to_the_last_record
            storage_fault_during_authentication_is_503
            storage_fault_during_recording_fails_no_request
            slow_store_does_not_hold_up_others
            route_out_of_scope_is_denied_and_recorded
            issued_admin_token_can_administer
            bad_request_for_a_token_is_the_clients_error
            odd_request_for_a_token_is_no_server_error
            name_is_unique_for_one_owner_only
            list_of_tokens_holds_no_secret
            unknown_token_id_is_not_found
            revoked_token_is_refused_by_its_next_request
            revoked_token_is_refused_under_load
            name_of_a_revoked_token_is_free_again
            expired_token_is_refused_with_its_own_reason
            dead_token_reaches_no_handler
            suspended_token_is_refused_until_it_is_resumed
            token_of_another_network_is_denied_and_recorded
            token_over_its_quota_is_told_when_to_come_back
            bad_restriction_is_the_clients_error
            request_in_flight_is_answered_before_the_service_ends
            interrupt_ends_the_service_well
            tokens_and_records_survive_a_restart
            files_are_their_owners_alone
            oversized_request_is_refused
            header_that_is_no_text_does_no_harm
            garbage_instead_of_a_request_is_refused
            odd_path_is_no_server_error
            long_user_agent_is_recorded
            request_without_a_user_agent_is_recorded
            body_longer_than_declared_is_one_request
            body_shorter_than_declared_is_no_success
            body_in_garbled_chunks_is_refused
            request_of_two_lengths_smuggles_nothing
            unusual_method_is_refused_and_never_taken_for_another
            absolute_target_is_recorded_under_its_route
            options_of_the_whole_server_are_recorded_under_no_route
            many_header_fields_are_served_or_refused
            slow_heads_hold_up_nobody
            slow_heads_are_cut_off
            connections_that_hardly_begin_are_cut_off
        }
    };
}

/// As [`suite!`](crate::suite), of what only a stack that speaks HTTP/2 (without TLS, by prior knowledge) can do.
#[macro_export]
macro_rules! suite_http2 {
    ($name:expr, $binary:expr $(,)?) => {
        $crate::tests_of! { $name, $binary,
            http2_requests_are_recorded_once_as_answered
            http2_refusal_has_its_challenge
            http2_stream_reset_in_its_middle_is_unfinished
            http2_stream_reset_before_its_head_is_unfinished
            http2_streams_at_once_are_recorded_one_each
            http2_connection_that_is_dropped_leaves_each_stream_unfinished
            http2_stream_is_recorded_at_its_trailers
            chunked_stream_is_recorded_at_its_trailers
        }
    };
}

/// As [`suite_http2!`](crate::suite_http2), of a great many streams: a test binary of its own, so that nothing runs beside it.
#[macro_export]
macro_rules! suite_crowd {
    ($name:expr, $binary:expr $(,)?) => {
        $crate::tests_of! { $name, $binary,
            crowd_of_streams_is_recorded_one_each
        }
    };
}

/// As [`suite!`](crate::suite), of an example that can stand behind a proxy.
#[macro_export]
macro_rules! suite_proxied {
    ($name:expr, $binary:expr $(,)?) => {
        $crate::tests_of! { $name, $binary,
            nobody_is_a_trusted_proxy_unless_said
            client_behind_a_trusted_proxy_is_told_by_its_one_header
        }
    };
}

/// One test a judgement.
#[doc(hidden)]
#[macro_export]
macro_rules! tests_of {
    ($name:expr, $binary:expr, $($judgement:ident)*) => {
        $(
            #[test]
            fn $judgement() {
                $crate::$judgement(&$crate::Stack::named($name, $binary));
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    const SUITE: &str = include_str!("suite.rs");

    /// A judgement that the macro forgets would never be passed.
    #[test]
    fn every_judgement_is_in_the_suite() {
        let sources = [
            include_str!("judge/admin.rs"),
            include_str!("judge/bad_input.rs"),
            include_str!("judge/bodies.rs"),
            include_str!("judge/bodies_in.rs"),
            include_str!("judge/crowd.rs"),
            include_str!("judge/end_of_life.rs"),
            include_str!("judge/http2.rs"),
            include_str!("judge/identity.rs"),
            include_str!("judge/odd_requests.rs"),
            include_str!("judge/proxied.rs"),
            include_str!("judge/records.rs"),
            include_str!("judge/refusals.rs"),
            include_str!("judge/restart.rs"),
            include_str!("judge/restrictions.rs"),
            include_str!("judge/slow.rs"),
            include_str!("judge/slow_store.rs"),
            include_str!("judge/start.rs"),
            include_str!("judge/storage.rs"),
            include_str!("judge/usage.rs"),
        ];
        let lines = sources.iter().flat_map(|source| source.lines());
        let names: Vec<_> =
            lines.filter_map(|line| line.strip_prefix("pub fn ")?.split('(').next()).collect();
        assert!(names.len() > 50, "{names:?}");
        for name in names {
            let is_named = SUITE.lines().any(|line| line.trim() == name);
            assert!(is_named, "{name} is not in the macro");
        }
    }
}
