//! Two batches on their way at once: a lane of the second begins when the same lane of the first is written.

use tokio::sync::oneshot;

/// A lane's place between the same lane of the batch before and of the one behind.
#[derive(Debug, Default)]
pub struct Turn {
    before: Option<End>,
    behind: Option<oneshot::Sender<()>>,
}

/// The end of a lane, as the one behind it sees it.
#[derive(Debug)]
pub struct End(oneshot::Receiver<()>);

impl Turn {
    /// A turn behind `before`, and its own end.
    pub fn behind(before: Option<End>) -> (Self, End) {
        let (behind, end) = oneshot::channel();
        (Self { before, behind: Some(behind) }, End(end))
    }

    /// Waits for the lane before; whether it is written, all of it.
    pub async fn comes(&mut self) -> bool {
        match self.before.take() {
            Some(End(end)) => end.await.is_ok(),
            None => true,
        }
    }

    /// The lane is written, all of it. If it is dropped instead, the lane behind learns that it is not.
    pub fn pass_on(self) {
        // Nobody may be behind.
        let _is_awaited = self.behind.map(|behind| behind.send(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_comes_when_the_one_before_is_passed_on_and_not_when_it_is_dropped() {
        for is_passed_on in [true, false] {
            let (mut first, end) = Turn::behind(None);
            let (mut second, end) = Turn::behind(Some(end));
            let (mut third, _) = Turn::behind(Some(end));
            assert!(first.comes().await, "nothing is before the first");
            if is_passed_on {
                first.pass_on();
                assert!(second.comes().await);
                second.pass_on();
                assert!(third.comes().await);
            } else {
                drop(first);
                assert!(!second.comes().await);
                drop(second);
                assert!(!third.comes().await);
            }
        }
        assert!(Turn::default().comes().await);
        Turn::default().pass_on();
    }
}
