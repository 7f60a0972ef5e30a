//! Bodies of chunks as hyper takes them.

use std::io;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};

use crate::chunks::Chunks;

/// What comes after the last chunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// The body fails.
    Failure,
    /// Nothing.
    Nothing,
    /// A trailer field, `chunks`: how many they were.
    Trailers,
}

impl Ending {
    /// Trailers for a client that can take them (RFC 9110 §10.1.4).
    #[must_use]
    pub fn for_client(headers: &HeaderMap) -> Self {
        match headers.get("te").map(HeaderValue::as_bytes) {
            Some(b"trailers") => Self::Trailers,
            _ => Self::Nothing,
        }
    }

    fn frame(self, chunks: Chunks) -> Option<io::Result<Frame<Bytes>>> {
        match self {
            Self::Failure => Some(Err(io::Error::other("asked to fail"))),
            Self::Nothing => None,
            Self::Trailers => {
                let field = (HeaderName::from_static("chunks"), chunks.count.into());
                Some(Ok(Frame::trailers(HeaderMap::from_iter([field]))))
            }
        }
    }
}

impl Chunks {
    /// All of them, one after the other, in their time.
    #[must_use]
    pub fn body(self, ending: Ending) -> UnsyncBoxBody<Bytes, io::Error> {
        let data = stream::unfold(0, move |number| async move {
            tokio::time::sleep(self.pause_before(number)).await;
            Some((Ok(Frame::data(self.get(number)?.into())), number + 1))
        });
        let end = stream::iter(ending.frame(self));
        StreamBody::new(data.chain(end)).boxed_unsync()
    }
}
