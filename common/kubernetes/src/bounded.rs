//! A reply's body that must end in time.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tower::BoxError;

/// A body that fails when it has not ended by a deadline. Without one it may take as long as it likes, as a watch does.
///
/// On HTTP/1.1 nothing else would end a reply whose server went away in the middle of it.
#[derive(Debug)]
pub struct Bounded<B> {
    inner: B,
    deadline: Option<(Pin<Box<Sleep>>, Duration)>,
}

impl<B> Bounded<B> {
    /// `inner`, which must end within `limit` from now, if there is one.
    pub fn new(inner: B, limit: Option<Duration>) -> Self {
        let deadline = limit.map(|limit| (Box::pin(sleep_until(Instant::now() + limit)), limit));
        Self { inner, deadline }
    }
}

impl<B> Body for Bounded<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if let Some((deadline, limit)) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            let text = format!("the API server's reply did not end within {limit:?}");
            return Poll::Ready(Some(Err(text.into())));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream::{StreamExt, once, pending};
    use http_body_util::{BodyExt, StreamBody};

    #[tokio::test(start_paused = true)]
    async fn reply_that_never_ends_fails_at_its_limit() {
        let half = || {
            let frame = Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"{\"kind\":")));
            StreamBody::new(once(async { frame }).chain(pending()).boxed())
        };
        let minute = Duration::from_secs(60);
        let begun = Instant::now();
        let error = Bounded::new(half(), Some(minute)).collect().await.unwrap_err();
        assert_eq!((begun.elapsed(), error.to_string().contains("60s")), (minute, true), "{error}");
        let watch = tokio::time::timeout(10 * minute, Bounded::new(half(), None).collect());
        assert!(watch.await.is_err(), "a watch goes on");
    }
}
