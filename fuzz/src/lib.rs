//! What the fuzz targets judge the library by: references written from the RFCs, which share no code
//! with it. A mistake made twice in the same way would go unseen, so nothing here is taken from there.

pub mod base64url;
pub mod bearer;
pub mod bench;
pub mod challenge;
pub mod damage;
pub mod date;
pub mod file_trial;
pub mod forwarding;
pub mod good_file;
pub mod json;
pub mod jwk;
pub mod jwk_plan;
pub mod key_trial;
pub mod keys;
pub mod ledger;
pub mod opaque_model;
pub mod oracle;
pub mod plan;
pub mod rate_model;
pub mod render;
pub mod state_bench;
pub mod state_changes;
pub mod state_check;
pub mod state_faults;
pub mod state_model;
pub mod state_plan;
pub mod state_requests;
pub mod ticket_model;
pub mod token_model;
pub mod usage_bench;
pub mod usage_check;
pub mod usage_plan;
pub mod window_model;
