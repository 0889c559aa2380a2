//! Futures that wait side by side without disturbing each other.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

/// The same future, but polled only when it is woken itself.
///
/// `join!` and `select!` poll all their branches whenever one of them is woken. A sidecar has some thirty (watches, queues,
/// leases, polls), of which one has something to do; asking all the others each time was a good part of what it did.
///
/// It moves to the heap at once, so that whoever waits for it stays small.
pub fn apart<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let mut alone = FuturesUnordered::from_iter([future]);
    async move {
        match alone.next().await {
            Some(output) => output,
            // There is one.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn a_future_that_is_woken_does_not_poll_its_neighbour() {
        let polled = Cell::new(0);
        let waits = std::future::poll_fn(|_| {
            polled.set(polled.get() + 1);
            Poll::<()>::Pending
        });
        let busy = async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = apart(waits) => {}
            () = busy => {}
        }
        assert_eq!(polled.get(), 1);
    }

    #[test]
    fn a_large_future_makes_its_neighbours_no_larger() {
        let large = async {
            let bytes = [1_u8; 10_000];
            tokio::task::yield_now().await;
            bytes.len()
        };
        assert!(size_of_val(&large) > 10_000 && size_of_val(&apart(large)) < 100);
    }

    #[tokio::test]
    async fn the_output_comes_as_it_is() {
        assert_eq!(
            apart(async {
                tokio::task::yield_now().await;
                7
            })
            .await,
            7
        );
    }
}
