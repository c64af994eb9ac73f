//! Public values as texts and as JSON: there and back, and what isn't one.

#![allow(clippy::unwrap_used)]

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::time::Duration;

use keyhasp::authority::{Reason, Role};
use keyhasp::backend::BackendErrorKind;
use keyhasp::key::{KeyName, Networks, RejectKind, SetBy, Settings};
use keyhasp::store::Unavailable;
use keyhasp::{
    Access, Actor, EventKind, Expiry, Generation, Incarnation, Invalid, KeyId, Kind, Lifetime,
    Network, NumericId, OwnerId, Period, Prefix, Quota, Rate, Refill, State, Timestamp, Version,
};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, json, to_value};

trait Shown: Serialize + DeserializeOwned + PartialEq + Debug {}
impl<T: Serialize + DeserializeOwned + PartialEq + Debug> Shown for T {}

/// JSON gives a value back.
fn by_json<T: Shown>(value: T) {
    let shown = to_value(&value).unwrap();
    assert_eq!(from_value::<T>(shown.clone()).unwrap(), value, "{shown}");
    // From a reader there are no borrowed texts.
    assert_eq!(serde_json::from_reader::<_, T>(shown.to_string().as_bytes()).unwrap(), value);
}

/// A text gives a value back, and JSON has the same text.
fn by_text<T: Shown + Display + FromStr<Err = Invalid>>(value: T) {
    let text = value.to_string();
    assert_eq!(text.parse::<T>().unwrap(), value);
    assert_eq!(to_value(&value).unwrap(), json!(text));
    by_json(value);
}

/// A decimal text gives a number back, and JSON has the number.
fn by_number<T>(value: T, number: u64)
where
    T: Shown + Display + FromStr<Err = Invalid> + TryFrom<i64, Error = Invalid>,
{
    assert_eq!(value.to_string(), number.to_string());
    assert_eq!(number.to_string().parse::<T>().unwrap(), value);
    assert_eq!(T::try_from(i64::try_from(number).unwrap()).unwrap(), value);
    assert_eq!(to_value(&value).unwrap(), json!(number));
    by_json(value);
}

fn refused<T: DeserializeOwned + Debug>(shown: Value) -> String {
    from_value::<T>(shown).unwrap_err().to_string()
}

proptest! {
    #[test]
    fn ids_and_times(
        id in any::<u128>(),
        owner in "[ -~é]{1,32}",
        millis in 0..=Timestamp::MAX.as_millis(),
    ) {
        by_text(KeyId::from_u128(id));
        by_text(OwnerId::new(owner).unwrap());
        let at = Timestamp::from_millis(millis).unwrap();
        by_text(at);
        by_json(Expiry::At(at));
    }

    #[test]
    fn numbers(number in 1..=NumericId::MAX) {
        by_number(NumericId::new(number).unwrap(), number);
        by_number(Version::new(number), number);
        let least = number.min(Generation::MAX.get().into());
        by_number(Generation::new(u32::try_from(least).unwrap()).unwrap(), least);
        let least = number.min(Incarnation::MAX.get());
        by_number(Incarnation::new(least).unwrap(), least);
    }

    #[test]
    fn an_access_is_a_word_or_a_list(names in prop::collection::vec("[a-z]{1,9}(:[a-z]{1,9}|:\\*)?", 1..9)) {
        let access = Access::limited(&names).unwrap();
        by_json(access.clone());
        prop_assert!(to_value(&access).unwrap().is_array());
        let text = access.to_string();
        prop_assert_eq!(text.parse::<Access>().unwrap(), access.clone());
        prop_assert_eq!(from_value::<Access>(json!(text)).unwrap(), access);
    }

    #[test]
    fn rates_and_quotas(
        count in 1..=Rate::MAX_COUNT,
        burst in 1..=Rate::MAX_COUNT,
        millis in 1..=31_622_400_000_u64,
        uses in 0..=Quota::MAX_USES,
        day in 1..=31_u8,
    ) {
        let rate = Rate::new(count, Duration::from_millis(millis)).unwrap();
        by_json(rate.with_burst(burst).unwrap());
        let without_burst = json!({ "count": count, "per_ms": millis });
        prop_assert_eq!(from_value::<Rate>(without_burst).unwrap(), rate);
        let quota = Quota::one_time(uses).unwrap();
        by_json(quota);
        let refill = Refill::new(uses.max(1), Period::month_from(day).unwrap()).unwrap();
        by_json(quota.with_refill(refill));
        by_json(Lifetime::new(Some(Duration::from_millis(millis)), None).unwrap());
    }
}

#[test]
fn every_word() {
    EventKind::ALL.iter().for_each(|kind| by_text(*kind));
    RejectKind::ALL.iter().for_each(|kind| by_text(*kind));
    State::ALL.iter().for_each(|state| by_text(*state));
    Kind::ALL.iter().for_each(|kind| by_text(*kind));
    SetBy::ALL.iter().for_each(|role| by_text(*role));
    [Period::Day, Period::Week].into_iter().for_each(by_text);
    (1..=31).for_each(|day| by_text(Period::month_from(day).unwrap()));
    [Access::Full, Access::ReadOnly].into_iter().for_each(by_text);
    by_json(Expiry::Never);
    by_json(BackendErrorKind::Full);
    by_json(Unavailable::Quota { retry_after: Duration::from_millis(1_250) });
}

#[test]
fn texts_networks_settings_and_roles() {
    by_text(KeyName::new("nightly job").unwrap());
    by_text(Reason::new("left the team").unwrap());
    by_text(Actor::new("ann").unwrap());
    by_text(Prefix::new("acme_live").unwrap());
    by_text("192.0.2.0/24".parse::<Network>().unwrap());
    by_json("2001:db8::/32 192.0.2.0/24".parse::<Networks>().unwrap());
    by_json(Settings::from_value(json!({ "region": { "name": "eu" } })).unwrap());
    let owner = OwnerId::new("org").unwrap();
    by_json(Role::Administrator);
    by_json(Role::Owner { owner });
    let key = KeyId::from_u128(7);
    by_json(Role::Delegate { owner, key, generation: Generation::FIRST });
}

/// Each is refused with the field, and with the limit where there is one.
#[test]
fn no_values() {
    for (told, field) in [
        (refused::<KeyId>(json!("0193")), "key id"),
        (refused::<OwnerId>(json!("")), "owner id"),
        (refused::<OwnerId>(json!("x".repeat(65))), "64"),
        (refused::<Timestamp>(json!("yesterday")), "timestamp"),
        (refused::<NumericId>(json!(0)), "numeric id"),
        (refused::<Generation>(json!(1 << 24)), "16777215"),
        (refused::<Incarnation>(json!(0)), "incarnation"),
        (refused::<Access>(json!("Full")), "access"),
        (refused::<Access>(json!([])), "access"),
        (
            refused::<Access>(json!(
                (0..257).map(|number| format!("p{number}")).collect::<Vec<_>>()
            )),
            "256",
        ),
        (refused::<Rate>(json!({ "count": 0, "per_ms": 1 })), "rate.count"),
        (refused::<Rate>(json!({ "count": 1, "per_ms": 1, "brust": 3 })), "brust"),
        (refused::<Quota>(json!({ "uses": Quota::MAX_USES + 1 })), "quota.uses"),
        (refused::<Refill>(json!({ "amount": 0, "period": "day" })), "quota.refill"),
        (refused::<Lifetime>(json!({ "max_ms": 5, "default_ms": 6 })), "lifetime.default"),
        (refused::<Networks>(json!([])), "networks"),
        (refused::<Prefix>(json!("A-b")), "prefix"),
        (refused::<Settings>(json!([])), "map"),
        (refused::<Period>(json!("month_from_1")), "month_from_"),
        (refused::<State>(json!("Active")), "state"),
        (refused::<EventKind>(json!("unknown")), "event kind"),
    ] {
        assert!(told.contains(field), "{told}");
    }
    for text in ["", "+1", "-1", " 1", "1.0", "0x1", "18446744073709551616", "é"] {
        let told = text.parse::<NumericId>().unwrap_err();
        assert_eq!(told.field(), "numeric id", "{text}");
        assert!(text.parse::<Version>().is_err(), "{text}");
    }
    assert!(NumericId::try_from(-1_i64).is_err());
    assert!(Generation::try_from(1_i64 << 32).is_err());
}
