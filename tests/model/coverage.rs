//! Coverage: counts of what the sequences have reached. A test fails if something was never
//! reached.

use keyhasp::RejectReason;
use std::collections::BTreeMap;

use crate::calls::Call;
use crate::model::{Model, Reason, Verdict};
use keyhasp::VerifyError;
use serde_json::Value;

/// Counts over all sequences.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    /// Number of times that each call was answered, and refused.
    calls: BTreeMap<String, (usize, usize)>,
    /// Number of times that each reason was returned.
    reasons: BTreeMap<String, usize>,
    /// Number of times that each verdict was given.
    verdicts: BTreeMap<String, usize>,
    /// Number of rotations that dropped a token.
    dropped: usize,
    /// Number of alerts of rejections that were held back.
    held_back: usize,
    /// Number of keys that lapsed.
    lapses: usize,
    /// Number of keys that were purged since they had ended long ago.
    purges: usize,
    /// Number of openings, and of looks at the health, with a clock behind the log.
    behind_log: [usize; 2],
    /// Number of alerts of each kind.
    alerts: BTreeMap<String, usize>,
    /// Number of times that each part of a key's usage was shown.
    usage: BTreeMap<String, usize>,
}

/// Each of them is answered at least once.
const CALLS: &str = "ActOnKey:Activate ActOnKey:AddToQuota ActOnKey:RefillQuota ActOnOwner:AddToQuota ActOnOwner:RefillQuota ActOnKey:Block ActOnKey:ConvertTrial ActOnKey:Deactivate \
    ActOnKey:InvalidatePrevious ActOnKey:ExtendExpiry ActOnKey:Revoke ActOnKey:Unblock ActOnKey:Update \
    ActOnOwner:InvalidateTokens ActOnOwner:Resume ActOnOwner:Suspend ActOnOwner:Update ChangeRules Count \
    CreateKey CreateOwner Events Find FlushUsage ForeignCursor Get GetOwner Leaked List ListOwners LookOut InvalidateTokens Once ReplaceLost RetirePepper \
    OpenTokens Prune Purge PurgeMany PurgeOwner Recover RevokeAll RevokeMany RevokeTree Rotate Rules Wait WorkSweeps";

/// Each of them is written or returned at least once.
const REASONS: &str = "Conflict DataForbid(keep_standard_key) DataForbid(prefixes) \
    DataForbid(unique_names) Forbidden(ActingKeyNotYet) Forbidden(ActingKeyRejected(None)) Forbidden(ActingKeyRejected(Some(Blocked))) \
    Forbidden(ActingKeyRejected(Some(Deactivated))) Forbidden(ActingKeyRejected(Some(Expired))) \
    Forbidden(ActingKeyRejected(Some(Revoked))) Forbidden(ActingKeyRejected(Some(Superseded))) \
    Forbidden(ActingKeyRejected(Some(Suspended))) Forbidden(AdministratorOnly) Forbidden(BeyondActingKey) \
    Forbidden(OtherPrefix) Forbidden(OutlastsActingKey) Forbidden(PreviousToken) \
    Forbidden(SetByAdministrator{field:access}) Forbidden(SetByAdministrator{field:expiry}) \
    Forbidden(SetByAdministrator{field:networks}) Forbidden(SetByAdministrator{field:not_before}) \
    Forbidden(SetByAdministrator{field:quota}) Forbidden(SetByAdministrator{field:rate}) \
    Forbidden(ProtectedSetting) Forbidden(BeyondLifetime) Invalid(fixed_defaults) Forbidden(TrialKey) NumericIdTaken NumericIdsExhausted Invalid(access) Invalid(actor) \
    Invalid(cursor) Invalid(expiry) Invalid(firstkey) Invalid(grace) Invalid(tokens_valid_from) \
    Invalid(name) Invalid(networks) Invalid(or_create_owner) Invalid(owners) Invalid(permission) Invalid(prefix) Invalid(tag) Invalid(tags) Invalid(unused_since) Invalid(prefixes) Invalid(settings) Invalid(quota.add) \
    LastStandardKey NameTaken NotFound(Key) NotFound(Owner) NotFound(RecoverableToken) OwnerExists Pepper PepperCurrent PepperInUse PepperUnknown NotFound(Request) IdempotencyKeyReused State(NotReplaceable) Forbidden(NotADelegate) \
    Random State(Blocked) State(Expired) State(NoQuota) State(NotRevoked) State(NotSuspended) State(NotTrial) \
    State(Revoked) State(RecoveryOff) TooManyKeys";

/// Each of them is given at least once.
const VERDICTS: &str = "AddressMissing AddressRejected Granted Granted(rate) NotYet QuotaExhausted \
    QuotaExhausted(refilled) RateLimited RateLimited(never) Rejected(Blocked) Rejected(Deactivated) Rejected(Expired) Rejected(Revoked) \
    Rejected(Superseded) Rejected(Suspended) Unrecognized";

/// Each of them is written or returned at least once.
const TIDINGS: &str =
    "previous_token_used key_expired key_expiring key_rejected key_unused token_old trial_ending";

/// Each of them is shown at least once.
const USAGE: &str = "accepted address_missing address_rejected blocked deactivated expired last_address last_used_at not_yet \
    quota_exhausted quota_left rate_limited revoked superseded suspended";

impl Coverage {
    /// Notes what an opening has seen, before the next one or at the end.
    pub(crate) fn note_opening(&mut self, model: &Model) {
        self.lapses += model.lapses;
        self.purges += model.purges;
        self.held_back += model.held_back();
        let is_behind = model.behind_log(model.time_of_last_event()).is_some();
        self.behind_log[0] += usize::from(is_behind);
    }

    pub(crate) fn note_behind_log(&mut self) {
        self.behind_log[1] += 1;
    }

    pub(crate) fn note_shown(&mut self, shown: &Value) {
        self.dropped += usize::from(shown["dropped"].is_u64());
        for alert in shown["told"].as_array().into_iter().flatten() {
            *self.alerts.entry(alert[0].as_str().unwrap_or_default().into()).or_default() += 1;
        }
        let usage = shown["usage"].as_object().into_iter().flatten();
        let refused = shown["usage"]["rejected"].as_object().into_iter().flatten();
        for (part, _) in usage.chain(refused).filter(|(_, value)| !value.is_null()) {
            *self.usage.entry(part.clone()).or_default() += 1;
        }
    }

    pub(crate) fn note_call(&mut self, call: &Call, told: Option<&Reason>) {
        let (answered, refused) = self.calls.entry(call.name()).or_default();
        match told {
            Some(reason) => {
                *refused += 1;
                *self.reasons.entry(reason.name()).or_default() += 1;
            }
            None => *answered += 1,
        }
    }

    pub(crate) fn note_verdict(&mut self, verdict: &Verdict) {
        let name = match verdict {
            Verdict::Granted(verified) if verified.rate.is_some() => "Granted(rate)".into(),
            Verdict::Granted(_) => "Granted".into(),
            Verdict::Limited(refusals) => limited(&refusals[0]),
            other => format!("{other:?}"),
        };
        *self.verdicts.entry(name).or_default() += 1;
    }

    /// Returns the names of what was never reached.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let sealed = if cfg!(feature = "recoverable") {
            ("OpenToken", "Seal DataForbid(recoverable_tokens)")
        } else {
            ("", "")
        };
        let calls = CALLS.split_whitespace().chain(sealed.0.split_whitespace());
        let reasons = REASONS.split_whitespace().chain(sealed.1.split_whitespace());
        let answered =
            |name: &&str| self.calls.get(*name).is_some_and(|(answered, _)| *answered > 0);
        let counts = [
            (self.dropped, "a rotation that drops a token"),
            (self.held_back, "a flood of refusals"),
            (self.lapses, "a lapse"),
            (self.purges, "a purge by the retention of keys"),
            (self.behind_log[0], "an opening with a clock behind the log"),
            (self.behind_log[1], "health that tells of a clock behind the log"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count == 0).map(|(_, name)| name);
        calls
            .filter(|name| !answered(name))
            .chain(reasons.filter(|name| !self.reasons.contains_key(*name)))
            .chain(VERDICTS.split_whitespace().filter(|name| !self.verdicts.contains_key(*name)))
            .chain(TIDINGS.split_whitespace().filter(|name| !self.alerts.contains_key(*name)))
            .chain(USAGE.split_whitespace().filter(|name| !self.usage.contains_key(*name)))
            .chain(counts)
            .collect()
    }
}

fn limited(refusal: &VerifyError) -> String {
    match refusal {
        VerifyError::Rejected(RejectReason::QuotaExhausted { refilled_at: Some(_), .. }) => {
            "QuotaExhausted(refilled)".into()
        }
        VerifyError::Rejected(RejectReason::RateLimited(limited))
            if limited.retry_after.is_none() =>
        {
            "RateLimited(never)".into()
        }
        VerifyError::Rejected(reason) => {
            format!("{reason:?}").chars().take_while(char::is_ascii_alphanumeric).collect()
        }
        other => format!("{other:?}"),
    }
}
