//! Deadlines: a point in time by which a step must have ended.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// A point in time on the controller's monotonic clock.
///
/// Every wait of this crate takes one, so that a guest that hangs cannot hang the harness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// The deadline passed before the step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline has passed")]
pub struct DeadlinePassed;

impl Deadline {
    /// The deadline that lies `duration` from now.
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    /// The time that is left, zero when the deadline has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether no time is left.
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// The earlier of this deadline and the one that lies `duration` from now.
    pub fn at_most(self, duration: Duration) -> Self {
        self.min(Self::after(duration))
    }

    /// Awaits `step`, but no longer than this deadline.
    pub async fn bound<F: Future>(self, step: F) -> Result<F::Output, DeadlinePassed> {
        tokio::time::timeout_at(self.0.into(), step).await.map_err(|_| DeadlinePassed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_step_that_never_ends_is_bounded() {
        let deadline = Deadline::after(Duration::from_millis(5));
        assert_eq!(deadline.bound(std::future::pending::<()>()).await, Err(DeadlinePassed));
        assert!(deadline.has_passed());
    }

    #[tokio::test]
    async fn a_step_that_ends_keeps_its_value() {
        assert_eq!(Deadline::after(Duration::from_secs(5)).bound(async { 7 }).await, Ok(7));
    }

    #[test]
    fn at_most_never_extends() {
        let near = Deadline::after(Duration::from_millis(1));
        assert_eq!(near.at_most(Duration::from_secs(60)), near);
        assert!(near < Deadline::after(Duration::from_secs(60)).at_most(Duration::from_secs(30)));
    }
}
