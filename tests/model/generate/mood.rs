//! Kinds of calls, and their weights in a sequence.

use crate::chance::Chance;

/// A kind of call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pick {
    Activate,
    Block,
    ChangeRules,
    ConvertTrial,
    Count,
    CreateKey,
    CreateOwner,
    Deactivate,
    InvalidatePrevious,
    Events,
    Find,
    FlushUsage,
    ForeignCursor,
    Get,
    GetOwner,
    GiveToKey,
    GiveToOwner,
    Leaked,
    List,
    ListOwners,
    LookOut,
    MadeUpCursor,
    Once,
    ReplaceLost,
    InvalidateTokens,
    RetirePepper,
    OpenToken,
    OpenTokens,
    OwnerMark,
    OwnerUpdate,
    ExtendExpiry,
    Prune,
    Purge,
    PurgeMany,
    PurgeOwner,
    Recover,
    Resume,
    Revoke,
    RevokeAll,
    RevokeMany,
    RevokeTree,
    Rotate,
    Rules,
    Suspend,
    Unblock,
    Update,
    Wait,
    WorkSweeps,
}

const PICKS: [(usize, Pick); 48] = [
    (5, Pick::Activate),
    (5, Pick::Block),
    (4, Pick::ChangeRules),
    (4, Pick::ConvertTrial),
    (2, Pick::Count),
    (20, Pick::CreateKey),
    (3, Pick::CreateOwner),
    (5, Pick::Deactivate),
    (4, Pick::InvalidatePrevious),
    (4, Pick::Events),
    (3, Pick::Find),
    (7, Pick::FlushUsage),
    (1, Pick::ForeignCursor),
    (4, Pick::Get),
    (1, Pick::GetOwner),
    (5, Pick::GiveToKey),
    (6, Pick::GiveToOwner),
    (4, Pick::Leaked),
    (5, Pick::List),
    (2, Pick::ListOwners),
    (14, Pick::LookOut),
    (1, Pick::MadeUpCursor),
    (14, Pick::Once),
    (5, Pick::ReplaceLost),
    (2, Pick::InvalidateTokens),
    (2, Pick::RetirePepper),
    (12, Pick::OpenToken),
    (2, Pick::OpenTokens),
    (2, Pick::OwnerMark),
    (6, Pick::OwnerUpdate),
    (5, Pick::ExtendExpiry),
    (2, Pick::Prune),
    (4, Pick::Purge),
    (2, Pick::PurgeMany),
    (2, Pick::PurgeOwner),
    (1, Pick::Recover),
    (3, Pick::Resume),
    (6, Pick::Revoke),
    (4, Pick::RevokeAll),
    (2, Pick::RevokeMany),
    (3, Pick::RevokeTree),
    (18, Pick::Rotate),
    (1, Pick::Rules),
    (2, Pick::Suspend),
    (5, Pick::Unblock),
    (12, Pick::Update),
    (1, Pick::Wait),
    (3, Pick::WorkSweeps),
];

/// The preferences of a sequence: a few kinds of calls that it makes more often than other
/// sequences. So some sequences rotate one key many times, and others only revoke.
#[derive(Debug)]
pub(crate) struct Mood {
    pub(super) picks: Vec<(usize, Pick)>,
    /// Whether most calls are about one key.
    pub(super) is_about_one: bool,
    /// Whether only quotas of keys are refilled and owners have none; otherwise only quotas of
    /// owners are refilled. A store that knows an owner's quota to be exhausted doesn't read the
    /// key's, so the model couldn't know when both were refilled.
    pub(super) refills_keys: bool,
    /// Percentage of the tokens that are verified after each call.
    pub(crate) verified: usize,
    /// Whether its clock often steps back.
    pub(super) steps_back: bool,
    /// Whether the clock is ahead for one call now and then.
    pub(crate) jumps: bool,
}

impl Mood {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let mut picks = PICKS.to_vec();
        for _ in 0..chance.below(4) {
            let places: Vec<(usize, usize)> =
                picks.iter().enumerate().map(|(at, (weight, _))| (*weight, at)).collect();
            picks[chance.weigh(&places)].0 *= 6;
        }
        let is_about_one = chance.percent(30);
        if is_about_one && chance.percent(50) {
            picks.push((200, Pick::Rotate));
        }
        let refills_keys = chance.percent(50);
        let verified = if chance.percent(70) { 100 } else { 20 };
        let (steps_back, jumps) = (chance.percent(25), chance.percent(30));
        Self { picks, is_about_one, refills_keys, verified, steps_back, jumps }
    }
}
