//! The injected bugs.

/// Declares the bugs, and a list of them all.
macro_rules! defects {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// An injected bug of a store.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Defect {
            $($(#[$doc])+ $name,)+
        }

        impl Defect {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

defects! {
    /// An owner who activates a key lifts an administrator's block with it.
    ActivateLiftsBlock,
    /// Keys of other owners are found.
    AnotherOwnersKeyFound,
    /// An address that was seen once is shown for ever.
    AddressOutlivesItsTime,
    /// A verified key stays accepted after its key is blocked.
    BlockNotInForce,
    /// An address that was accepted once stays accepted, whatever networks are set.
    NetworksNotInForce,
    /// A verified key stays accepted after a later `not_before` is set.
    NotBeforeIgnored,
    /// An owner loosens a limit that an administrator has set.
    OwnerLoosens,
    /// A use that costs nothing passes an exhausted quota.
    LookPasses,
    /// A quota gets one use, however many are added.
    QuotaGetsOne,
    /// A quota allows one use more than it has.
    QuotaOverspends,
    /// A rate is never used up.
    RateNeverUsedUp,
    /// A lowered `max_access` narrows only the tokens that weren't verified before.
    MaxAccessNotInForce,
    /// Writing what was counted counts it once more.
    CountDoubledByWriting,
    /// Counting leaves out one of many.
    CountFallsShort,
    /// An owner is shown which administrator acted, and why.
    AdministratorShown,
    /// A delegate reaches beyond its key.
    DelegateGoesBeyond,
    /// A delegate's keys outlast its own.
    DelegateOutlasts,
    /// A delegate's keys have another prefix than its own.
    DelegateCrossesPrefixes,
    /// A list doesn't say which key created another.
    CreatorNotTold,
    /// Only accepted tokens are found when they leak.
    DeadTokenNotTold,
    /// A rotation doesn't say which token it dropped.
    DroppedNotTold,
    /// Reading events leaves out conversions of trials.
    EventMissing,
    /// An owner reads the events of an earlier one of its id.
    EventsOfAnotherTime,
    /// The newest events come last, whatever was asked for.
    EventsNeverNewestFirst,
    /// Two events of one change come in the other order.
    EventsSwapped,
    /// A verified key stays accepted after its key has expired.
    ExpiryNotInForce,
    /// A forced rotation leaves previous tokens their grace.
    ForcedRotationKeepsPrevious,
    /// A use by a clock that has stepped back is taken for the last one.
    LastUseStepsBack,
    /// A key that has lapsed doesn't show it.
    LapseNotShown,
    /// A leaked key is found, and not blocked.
    LeakNotStopped,
    /// A scan writes no alerts.
    LooksAway,
    /// A list drops the last of three or more.
    ListDropsKey,
    /// A list doesn't show the tags of keys.
    ListHidesTags,
    /// A list ends after its second page.
    ListEndsEarly,
    /// An owner extends an expiry that an administrator has set.
    OwnerProlongs,
    /// An administrator that sets what is there already doesn't become its setter.
    PinningForgotten,
    /// An owner or a delegate changes settings that an administrator has set or fixed.
    ProtectedSettingChanged,
    /// An owner or a delegate lets a key live longer than its owner's greatest lifetime.
    LifetimeExceeded,
    /// A purge answers and does nothing.
    PurgeDoesNothing,
    /// A previous token acts like the current one.
    PreviousTokenActs,
    /// Pruning goes an hour too far.
    PruneGoesTooFar,
    /// A creation that is sent again makes another key.
    RepeatTakesEffect,
    /// A verified key that is checked again is as it was.
    RecheckRemembers,
    /// A verified key that is checked again needs no address.
    RecheckFromAnywhere,
    /// A verified key stays accepted after its key is revoked.
    RevocationNotInForce,
    /// Revoking all keys revokes them one by one, so that the event log differs.
    RevokeAllOneByOne,
    /// A verified key stays accepted after its grace or a later `tokens_valid_from`.
    SupersededStillGood,
    /// A verified key stays accepted after its owner is suspended.
    SuspensionNotInForce,
    /// Revoking a key with its descendants revokes the key before the others.
    TreeRevokedOneByOne,
    /// A trial key delegates.
    TrialDelegates,
    /// Usage is shown as it was when it was last written.
    UsageShownLate,
    /// An owner acts with a key that isn't accepted any more.
    OutlivesItsKey,
    /// Every expected version is accepted.
    WrongVersionAccepted,
    /// A grace that was reckoned ahead lasts as long as its first end says.
    GraceAheadStays,
    /// An invalidation up to now misses tokens that were stamped after now.
    InvalidationMissesTokensAhead,
    /// An invalidation that was made ahead hides later ones until its moment comes.
    InvalidationAheadHidesLater,
    /// Health doesn't tell that the clock is ahead.
    ClockAheadNotTold,
    /// Health doesn't tell that the clock lies behind the log.
    ClockBehindLogNotTold,
}
