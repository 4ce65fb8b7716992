//! The body of a bulk request, without a copy of the rows where that is cheaper.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use reqwest::Body;

/// Pieces shorter than this on average are joined: a copy of 4 KiB costs less than a frame of its own (a boxed body,
/// an entry in the write queue, one more place in `writev`).
const WORTH_A_FRAME: usize = 4096;

/// The body of a request: one piece as it is, a few long ones one after the other, many short ones joined.
pub(crate) fn body(mut chunks: Vec<Bytes>) -> Body {
    let length: usize = chunks.iter().map(Bytes::len).sum();
    match chunks.len() {
        0 | 1 => Body::from(chunks.pop().unwrap_or_default()),
        pieces if length / pieces >= WORTH_A_FRAME => {
            Body::wrap(Chunks { left: length as u64, chunks: chunks.into() })
        }
        _ => {
            let mut joined = Vec::with_capacity(length);
            chunks.iter().for_each(|chunk| joined.extend_from_slice(chunk));
            Body::from(joined)
        }
    }
}

/// Pieces that go out one after the other, with their length known beforehand.
struct Chunks {
    chunks: VecDeque<Bytes>,
    left: u64,
}

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.chunks.pop_front();
        self.left -= next.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Poll::Ready(next.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
