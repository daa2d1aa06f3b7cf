//! What a running source is asked for from outside: snapshots of some collections.

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::namespace::Namespace;

/// Requests that wait at most; whoever brings one more waits.
const WAITING: usize = 16;

/// Requests to one source. They live as long as the process, over restarts of the half.
#[derive(Debug)]
pub struct Requests {
    sender: mpsc::Sender<Request>,
    receiver: Mutex<mpsc::Receiver<Request>>,
}

/// A request and who waits for its answer.
#[derive(Debug)]
pub struct Request {
    /// What is asked for.
    pub ask: Ask,
    /// Takes what came of it.
    pub answer: oneshot::Sender<Result<Answer, String>>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Copy these collections, named as `db.coll`.
    Snapshot(Vec<String>),
    /// Copy nothing more.
    Cancel,
}

/// What came of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Collections that will be copied, or will not.
    pub collections: Vec<Namespace>,
    /// About how many documents they have left.
    pub documents: u64,
}

impl Default for Requests {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(receiver) }
    }
}

impl Requests {
    /// Asks, and waits until the source has answered.
    ///
    /// # Errors
    /// Why nothing came of it.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, String> {
        let (answer, answered) = oneshot::channel();
        let gone = |_| "the source stopped before it could answer".to_owned();
        self.sender.send(Request { ask, answer }).await.map_err(|_| "the source has ended".to_owned())?;
        answered.await.map_err(gone)?
    }

    /// The next request. Safe to drop while waiting.
    pub async fn next(&self) -> Request {
        match self.receiver.lock().await.recv().await {
            Some(request) => request,
            // The sender lives as long as this.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_asks_gets_the_answer() {
        let requests = Requests::default();
        let (answer, ()) = tokio::join!(requests.ask(Ask::Cancel), async {
            let request = requests.next().await;
            assert_eq!(request.ask, Ask::Cancel);
            request.answer.send(Ok(Answer::default())).expect("somebody waits");
        });
        assert_eq!(answer, Ok(Answer::default()));
    }
}
