//! Stand-ins for neighbours of the sources that have no part in any order.

/// Hints that do nothing.
pub mod hints {
    /// Does nothing.
    pub fn prefetch<T>(_: &T) {}

    /// Does nothing.
    pub fn prefer_huge_pages<T>(_: &mut Vec<T>) {}
}

/// Leases of uses alone, which are never void.
pub mod lease {
    /// The mark of a lease whose next one is asked for.
    pub const ASKED: u64 = 1 << 36;

    /// The days at which leases end.
    #[derive(Clone, Copy, Debug)]
    pub struct Ends;

    /// A lease.
    #[derive(Clone, Copy, Debug)]
    pub struct LeaseWord(pub u64);

    impl LeaseWord {
        /// Returns the uses.
        pub fn held(self) -> u64 {
            self.0 & !ASKED
        }

        /// Returns a lease of so many uses.
        pub fn with_units(self, units: u64) -> Self {
            Self(units)
        }

        /// Returns the lease after uses.
        pub fn spend(self, _: Ends, uses: u32) -> Option<Self> {
            (self.held() >= u64::from(uses)).then(|| Self(self.0 - u64::from(uses)))
        }

        /// Returns the lease with another one's uses.
        pub fn add(self, other: Self, _: Ends) -> Self {
            Self(self.held() + other.held())
        }

        /// Returns the lease with uses that were given back.
        pub fn give_back(self, uses: Self, _: Ends) -> Option<Self> {
            Some(Self(self.0 + uses.held()))
        }
    }
}

/// Holders of limits.
pub mod reserved {
    use keyhasp::id::KeyId;

    /// The holder of limits.
    #[derive(Clone, Copy, Debug)]
    pub enum Whose {
        /// A key.
        Key(KeyId, Option<OwnerRef>),
        /// An owner.
        Owner(OwnerRef),
    }

    /// An owner in the index.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct OwnerRef {
        /// The number.
        pub number: u32,
        /// The count of how often it had been given.
        pub given: u32,
    }
}

/// Ids of owners.
pub mod id {
    /// An id, which stands in both words.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct OwnerId(u64);

    impl OwnerId {
        /// Returns an id; not of 0.
        pub fn new(id: u64) -> Self {
            Self(id)
        }

        /// Returns the words.
        pub fn words(&self) -> [u64; 2] {
            [self.0; 2]
        }

        /// Restores an id; a wrong one from words of two.
        pub fn from_words([first, second]: [u64; 2]) -> Option<Self> {
            (first | second != 0).then_some(Self(if first == second { first } else { u64::MAX }))
        }
    }
}

/// Processes, none of them forked.
pub mod process {
    /// A process.
    #[derive(Clone, Copy, Debug)]
    pub struct Process;

    impl Process {
        /// Returns the process.
        pub fn current() -> Self {
            Self
        }

        /// Returns false.
        pub fn is_forked(self) -> bool {
            false
        }
    }
}

/// Background threads, which the models run themselves.
pub mod engine {
    use std::time::Duration;

    use loom::sync::Notify;

    /// When a thread works next.
    #[derive(Debug)]
    pub enum Next {
        /// After a pause.
        After(Duration),
        /// When it is woken.
        WhenWoken,
    }

    /// Work that was done.
    #[derive(Debug)]
    pub struct Worked;

    impl Worked {
        /// No work.
        pub fn nothing(_: Next) -> Self {
            Self
        }
    }

    /// Wakes a thread; a wake that comes before the thread waits isn't lost.
    #[derive(Debug)]
    pub struct Signal(Notify);

    impl Default for Signal {
        fn default() -> Self {
            Self(Notify::new())
        }
    }

    impl Signal {
        /// Wakes the thread.
        pub fn wake(&self) {
            self.0.notify();
        }

        /// Waits until the thread is woken.
        pub fn wait(&self) {
            self.0.wait();
        }
    }
}

/// Limits of an entry.
pub mod entry {
    /// The greatest number of an owner.
    pub const MAX_OWNER: u32 = 1 << 16;

    /// The greatest number of a permission set.
    pub const MAX_SET: u32 = 1 << 16;
}
