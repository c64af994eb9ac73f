//! The periods of a refill, by the calendar in UTC.

use std::fmt;
use std::str::FromStr;

use time::{Date, Month, OffsetDateTime};

use crate::clock::Timestamp;
use crate::invalid::{Invalid, Problem};
use crate::key::{Field, Sink, Source};
use crate::serial::as_text;

/// The period of a refill. Each period begins at midnight UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    /// Each day.
    Day,
    /// Each Monday, where a week begins by ISO 8601.
    Week,
    /// The first of each month.
    Month,
    /// Another day of each month; [`Period::month_from`] makes it.
    MonthFrom(MonthDay),
}

/// A day of the month, 2 to 31, on which a period begins. In a shorter month that is its last day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MonthDay(u8);

/// The stored numbers and words, by number: 1 and 2 for day and week, then 2 more than the day of
/// the month.
const WORDS: [(u8, &str); 33] = [
    (1, "day"),
    (2, "week"),
    (3, "month"),
    (4, "month_from_2"),
    (5, "month_from_3"),
    (6, "month_from_4"),
    (7, "month_from_5"),
    (8, "month_from_6"),
    (9, "month_from_7"),
    (10, "month_from_8"),
    (11, "month_from_9"),
    (12, "month_from_10"),
    (13, "month_from_11"),
    (14, "month_from_12"),
    (15, "month_from_13"),
    (16, "month_from_14"),
    (17, "month_from_15"),
    (18, "month_from_16"),
    (19, "month_from_17"),
    (20, "month_from_18"),
    (21, "month_from_19"),
    (22, "month_from_20"),
    (23, "month_from_21"),
    (24, "month_from_22"),
    (25, "month_from_23"),
    (26, "month_from_24"),
    (27, "month_from_25"),
    (28, "month_from_26"),
    (29, "month_from_27"),
    (30, "month_from_28"),
    (31, "month_from_29"),
    (32, "month_from_30"),
    (33, "month_from_31"),
];

/// The number of a week; months follow.
const WEEK: u8 = 2;

impl MonthDay {
    /// The day, 2 to 31.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Period {
    /// Each month from this day on, 1 to 31. In a month without that day, the period begins on the
    /// last day: 31 means the last day of each month.
    ///
    /// # Errors
    /// [`Invalid`] outside these limits.
    pub fn month_from(day: u8) -> Result<Self, Invalid> {
        match day {
            1 => Ok(Self::Month),
            2..=31 => Ok(Self::MonthFrom(MonthDay(day))),
            _ => {
                let problem = Problem::OutOfRange { given: day.into(), min: 1, max: 31, unit: "" };
                Err(Invalid::new("quota.day", problem))
            }
        }
    }

    /// The number under which it is stored.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Day => 1,
            Self::Week => WEEK,
            Self::Month => WEEK + 1,
            Self::MonthFrom(MonthDay(day)) => WEEK + day,
        }
    }

    /// Finds the period of a stored number.
    ///
    /// # Errors
    /// [`Invalid`] for an unknown number.
    pub fn from_number(number: u8) -> Result<Self, Invalid> {
        let unknown = || {
            let problem = Problem::OutOfRange { given: number.into(), min: 1, max: 33, unit: "" };
            Invalid::new("quota.every", problem)
        };
        match number {
            1 => Ok(Self::Day),
            WEEK => Ok(Self::Week),
            _ => {
                let day = number.checked_sub(WEEK).filter(|day| *day > 0).ok_or_else(unknown)?;
                Self::month_from(day).map_err(|_| unknown())
            }
        }
    }

    /// Its name, such as `month` or `month_from_15`.
    #[must_use]
    pub fn name(self) -> &'static str {
        WORDS.get(usize::from(self.number()) - 1).map_or("", |(_, word)| word)
    }

    /// When the period of a moment began. A period that began before 1970 counts from there.
    #[must_use]
    pub fn start_of(self, at: Timestamp) -> Timestamp {
        let date = OffsetDateTime::from(at).date();
        let start = match self {
            Self::Day => Some(date),
            Self::Week => before(date, date.weekday().number_days_from_monday()),
            Self::Month => before(date, date.day() - 1),
            Self::MonthFrom(MonthDay(day)) => {
                let own = first_day(date.year(), date.month(), day);
                if own.is_some_and(|own| own <= date) {
                    own
                } else {
                    before(date, date.day())
                        .and_then(|last| first_day(last.year(), last.month(), day))
                }
            }
        };
        // 1970 begins with a Thursday.
        midnight(start).unwrap_or(Timestamp::MIN)
    }

    /// When the next period begins; `None` past the end of time.
    #[must_use]
    pub fn start_after(self, at: Timestamp) -> Option<Timestamp> {
        let date = OffsetDateTime::from(at).date();
        let length = |date: Date| date.month().length(date.year());
        let next = match self {
            Self::Day => after(date, 1),
            Self::Week => after(date, 7 - date.weekday().number_days_from_monday()),
            Self::Month => after(date, length(date) - date.day() + 1),
            Self::MonthFrom(MonthDay(day)) => {
                let own = first_day(date.year(), date.month(), day);
                if own.is_some_and(|own| own > date) {
                    own
                } else {
                    after(date, length(date) - date.day() + 1)
                        .and_then(|first| first_day(first.year(), first.month(), day))
                }
            }
        };
        midnight(next)
    }
}

impl Period {
    /// Returns when the period began in which a count goes on at `now`, if it was counted last in
    /// the period that began at `counted`.
    ///
    /// That is the current period, unless the clock was in the next one before: what was refilled
    /// for that isn't refilled once more when it comes. A period further ahead was never near, so
    /// the clock was wrong, and the count doesn't wait for it.
    #[must_use]
    pub fn counted_at(self, counted: Timestamp, now: Timestamp) -> Timestamp {
        if self.start_after(now) == Some(counted) { counted } else { self.start_of(now) }
    }
}

/// Returns this day of a month, or the month's last.
fn first_day(year: i32, month: Month, day: u8) -> Option<Date> {
    Date::from_calendar_date(year, month, day.min(month.length(year))).ok()
}

fn before(date: Date, days: u8) -> Option<Date> {
    date.checked_sub(time::Duration::days(days.into()))
}

fn after(date: Date, days: u8) -> Option<Date> {
    date.checked_add(time::Duration::days(days.into()))
}

fn midnight(date: Option<Date>) -> Option<Timestamp> {
    Timestamp::try_from(date?.midnight().assume_utc()).ok()
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Period {
    type Err = Invalid;

    /// Parses what [`name`](Self::name) returns.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let expected = "`day`, `week`, `month` or `month_from_` and a day from 2 to 31";
        let found = WORDS.iter().find(|(_, word)| *word == text);
        let (number, _) =
            found.ok_or_else(|| Invalid::new("quota.every", Problem::Malformed { expected }))?;
        Self::from_number(*number)
    }
}

as_text!(Period);

impl Field for Period {
    fn put<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.word(self.number(), self.name())
    }

    fn get<S: Source>(name: &'static str, source: &mut S) -> Result<Self, S::Error> {
        let number = source.word(name, &WORDS)?;
        Self::from_number(number).map_err(|_| source.damaged(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn all() -> Vec<Period> {
        let months = (1..=31).map(|day| Period::month_from(day).unwrap());
        [Period::Day, Period::Week].into_iter().chain(months).collect()
    }

    #[test]
    fn periods_begin_at_midnight() {
        let from = |day| Period::month_from(day).unwrap();
        for (every, moment, start, next) in [
            (Period::Day, "2024-02-29T23:59:59.999Z", "2024-02-29", "2024-03-01"),
            (Period::Day, "2024-03-01T00:00:00Z", "2024-03-01", "2024-03-02"),
            // A Monday, and the Sunday before it.
            (Period::Week, "2024-01-01T00:00:00Z", "2024-01-01", "2024-01-08"),
            (Period::Week, "2023-12-31T23:00:00Z", "2023-12-25", "2024-01-01"),
            (Period::Month, "2023-12-31T23:00:00Z", "2023-12-01", "2024-01-01"),
            (Period::Month, "2024-02-01T00:00:00Z", "2024-02-01", "2024-03-01"),
            (Period::Week, "1970-01-02T00:00:00Z", "1970-01-01", "1970-01-05"),
            (from(15), "2024-01-14T23:59:59.999Z", "2023-12-15", "2024-01-15"),
            (from(15), "2024-01-15T00:00:00Z", "2024-01-15", "2024-02-15"),
            (from(30), "2023-02-27T00:00:00Z", "2023-01-30", "2023-02-28"),
            (from(30), "2023-02-28T00:00:00Z", "2023-02-28", "2023-03-30"),
            (from(30), "2024-02-29T12:00:00Z", "2024-02-29", "2024-03-30"),
            (from(31), "2024-04-30T00:00:00Z", "2024-04-30", "2024-05-31"),
            (from(31), "2024-05-30T00:00:00Z", "2024-04-30", "2024-05-31"),
            (from(31), "2024-01-01T00:00:00Z", "2023-12-31", "2024-01-31"),
            (from(2), "1970-01-01T12:00:00Z", "1970-01-01", "1970-01-02"),
        ] {
            let at_midnight = |date: &str| at(&format!("{date}T00:00:00Z"));
            assert_eq!(every.start_of(at(moment)), at_midnight(start), "{every:?} {moment}");
            assert_eq!(
                every.start_after(at(moment)),
                Some(at_midnight(next)),
                "{every:?} {moment}"
            );
        }
        for every in all() {
            assert_eq!(every.start_after(Timestamp::MAX), None, "{every:?}");
        }
    }

    #[test]
    fn numbers_and_names_are_read_back() {
        for (number, every) in (1..).zip(all()) {
            assert_eq!((every.number(), Period::from_number(number)), (number, Ok(every)));
            assert_eq!(WORDS[usize::from(number) - 1], (number, every.name()));
        }
        for number in [0, 34, 255] {
            assert!(Period::from_number(number).is_err());
        }
        assert_eq!(Period::month_from(15).unwrap().name(), "month_from_15");
        assert_eq!(Period::month_from(1), Ok(Period::Month));
        for day in [0, 32, 255] {
            assert_eq!(Period::month_from(day).unwrap_err().field(), "quota.day");
        }
    }

    /// The calendar's laws, over every midnight of 1970 to 2100: periods tile time without a gap,
    /// and each begins on its day, or on the last of a month that is shorter.
    #[test]
    fn periods_tile_time() {
        const DAY: u64 = 24 * 60 * 60 * 1_000;
        let moment = |day: u64, millis: u64| Timestamp::from_millis(day * DAY + millis).unwrap();
        let end = at("2101-01-01T00:00:00Z").as_millis() / DAY;
        for every in all() {
            let mut start = Timestamp::MIN;
            let mut next = every.start_after(start).unwrap();
            for day in 0..end {
                if moment(day, 0) == next {
                    start = next;
                    next = every.start_after(start).unwrap();
                    let date = OffsetDateTime::from(start).date();
                    let last = date.month().length(date.year());
                    match every {
                        Period::Day => assert_eq!(next, moment(day + 1, 0)),
                        Period::Week => {
                            assert_eq!(date.weekday(), time::Weekday::Monday);
                            assert_eq!(next, moment(day + 7, 0));
                        }
                        Period::Month => assert_eq!(date.day(), 1),
                        Period::MonthFrom(on) => assert_eq!(date.day(), on.get().min(last)),
                    }
                    // One in each month, none left out.
                    if !matches!(every, Period::Day | Period::Week) {
                        let after = OffsetDateTime::from(next).date();
                        assert_eq!(after.month(), date.month().next(), "{every:?} {date}");
                    }
                }
                for millis in [0, 1, DAY - 1] {
                    let moment = moment(day, millis);
                    assert_eq!(every.start_of(moment), start, "{every:?} {moment:?}");
                    assert_eq!(every.start_after(moment), Some(next), "{every:?} {moment:?}");
                }
            }
        }
    }
}
