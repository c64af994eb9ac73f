//! The process in which a value was made.

/// The process in which a value was made. A child that is forked later has a copy of the value, and
/// another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    /// Notes the process that runs now.
    pub(crate) fn current() -> Self {
        Self(std::process::id())
    }

    /// Returns whether another process runs now: a child of the noted one. Costs a system call.
    pub(crate) fn is_forked(self) -> bool {
        self != Self::current()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_id_is_another_process() {
        assert!(!Process::current().is_forked());
        assert!(Process(std::process::id() + 1).is_forked());
    }
}
