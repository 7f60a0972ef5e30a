//! The crypto backend, named explicitly. With both features on, the process-wide default look-up of
//! `jsonwebtoken` panics for good, so that it is never asked.

#[cfg(feature = "aws_lc_rs")]
pub(super) use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER as PROVIDER;
#[cfg(all(feature = "rust_crypto", not(feature = "aws_lc_rs")))]
pub(super) use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER as PROVIDER;

/// The longest RSA modulus that the backend verifies with, in bits.
pub(super) const MAX_RSA_BITS: usize = if cfg!(feature = "aws_lc_rs") { 8_192 } else { 4_096 };

#[cfg(not(any(feature = "aws_lc_rs", feature = "rust_crypto")))]
compile_error!(
    "token-tracker needs a crypto backend: enable the feature `aws_lc_rs` or `rust_crypto`"
);
