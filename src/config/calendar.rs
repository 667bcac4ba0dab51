//! Quiet hours: days and times of day in a time zone. Pure: which time it is is an argument, so a replay decides alike.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, FixedOffset, NaiveDateTime, Timelike, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::news::EventTime;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY: u32 = 24 * 60;

/// Times of day on some days, half-open. TOML: `"Mon-Fri 22:00-07:00"`, `"Sat 00:00-24:00"`, or `"22:00-07:00"` for
/// every day. What goes past midnight belongs to the day on which it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    days: [bool; 7],
    /// Minutes from midnight; `to` is before `from` where midnight lies between them.
    from: u32,
    to: u32,
}

impl QuietHours {
    pub fn hold(&self, at: EventTime, zone: TimeZone) -> bool {
        let Some(local) = zone.local(at) else { return false };
        let (day, minute) = (local.weekday().num_days_from_monday() as usize, local.hour() * 60 + local.minute());
        match self.from < self.to {
            true => self.days[day] && (self.from..self.to).contains(&minute),
            false => (self.days[day] && minute >= self.from) || (self.days[(day + 6) % 7] && minute < self.to),
        }
    }
}

fn wrong(text: &str) -> String {
    format!("{text:?} must be hours such as \"22:00-07:00\" or \"Mon-Fri 22:00-07:00\", with days Mon, Tue, Wed, Thu, Fri, Sat, Sun")
}

impl FromStr for QuietHours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let (days, hours) = match parts.as_slice() {
            [hours] => (Some([true; 7]), hours),
            [days, hours] => (days_of(days), hours),
            _ => return Err(wrong(text)),
        };
        let bounds = hours.split_once('-').and_then(|(from, to)| Some((minutes(from)?, minutes(to)?)));
        match (days, bounds) {
            (Some(days), Some((from, to))) if from != to && from < DAY => Ok(Self { days, from, to }),
            _ => Err(wrong(text)),
        }
    }
}

/// `Fri-Mon` goes over the weekend.
fn days_of(text: &str) -> Option<[bool; 7]> {
    let day = |name: &str| DAYS.iter().position(|day| day.eq_ignore_ascii_case(name));
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (day(first)?, day(last)?),
        None => (day(text)?, day(text)?),
    };
    let mut days = [false; 7];
    (0..=(last + 7 - first) % 7).for_each(|step| days[(first + step) % 7] = true);
    Some(days)
}

fn minutes(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let all_digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (hour, minute): (u32, u32) =
        (all_digits(hour) && all_digits(minute)).then(|| Some((hour.parse().ok()?, minute.parse().ok()?)))??;
    (minute < 60 && hour * 60 + minute <= DAY).then_some(hour * 60 + minute)
}

impl fmt::Display for QuietHours {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = (0..7).find(|&day| self.days[day] && !self.days[(day + 6) % 7]);
        if let Some(first) = first {
            let last = (0..7).map(|step| (first + step) % 7).take_while(|&day| self.days[day]).last().unwrap_or(first);
            match first == last {
                true => write!(formatter, "{} ", DAYS[first])?,
                false => write!(formatter, "{}-{} ", DAYS[first], DAYS[last])?,
            }
        }
        write!(formatter, "{:02}:{:02}-{:02}:{:02}", self.from / 60, self.from % 60, self.to / 60, self.to % 60)
    }
}

/// TOML: a name of the IANA database such as `"Europe/London"`, or an offset such as `"+05:30"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeZone {
    Named(chrono_tz::Tz),
    Offset(FixedOffset),
}

impl TimeZone {
    fn local(self, at: EventTime) -> Option<NaiveDateTime> {
        let utc = DateTime::<Utc>::from_timestamp_millis(at.0)?;
        Some(match self {
            Self::Named(zone) => utc.with_timezone(&zone).naive_local(),
            Self::Offset(offset) => utc.with_timezone(&offset).naive_local(),
        })
    }
}

impl FromStr for TimeZone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let offset = || text.parse::<FixedOffset>().ok().map(Self::Offset);
        let named = || text.parse::<chrono_tz::Tz>().ok().map(Self::Named);
        offset()
            .or_else(named)
            .ok_or_else(|| format!("{text:?} must be a time zone such as \"Europe/London\" or \"UTC\", or an offset such as \"+01:00\""))
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(zone) => formatter.write_str(zone.name()),
            Self::Offset(offset) => offset.fmt(formatter),
        }
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(QuietHours);
as_text!(TimeZone);

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(hours: &str, zone: &str, at: &str) -> bool {
        hours.parse::<QuietHours>().unwrap().hold(EventTime::parse(at).unwrap(), zone.parse().unwrap())
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        // 2023-03-10 was a Friday.
        assert!(holds("Mon-Fri 22:00-07:00", "UTC", "2023-03-10T22:00:00Z"));
        assert!(holds("Mon-Fri 22:00-07:00", "UTC", "2023-03-11T06:59:59Z"));
        assert!(!holds("Mon-Fri 22:00-07:00", "UTC", "2023-03-11T07:00:00Z"));
        assert!(!holds("Mon-Fri 22:00-07:00", "UTC", "2023-03-11T23:00:00Z"), "Saturday night");
        assert!(!holds("Mon-Fri 22:00-07:00", "UTC", "2023-03-13T05:00:00Z"), "Sunday's night, on Monday morning");
        assert!(holds("Sat-Sun 00:00-24:00", "UTC", "2023-03-12T23:59:00Z"));
        assert!(holds("Fri-Mon 12:00-13:00", "UTC", "2023-03-12T12:30:00Z"));
        assert!(!holds("Fri-Mon 12:00-13:00", "UTC", "2023-03-14T12:30:00Z"));
    }

    #[test]
    fn a_zone_knows_its_summer_and_an_offset_does_not() {
        for (at, in_new_york) in [("2023-03-10T13:00:00Z", true), ("2023-03-14T12:00:00Z", true), ("2023-03-14T13:00:00Z", false)] {
            assert_eq!(holds("08:00-09:00", "America/New_York", at), in_new_york, "{at}");
        }
        assert!(holds("18:00-19:00", "+05:30", "2023-03-10T12:45:00Z"));
    }

    #[test]
    fn what_was_written_is_shown_again_and_nonsense_is_refused() {
        for text in ["Mon-Fri 22:00-07:00", "Sat 00:00-24:00", "Sun-Tue 01:30-02:00", "22:00-07:00"] {
            assert_eq!(text.parse::<QuietHours>().unwrap().to_string(), text);
        }
        for text in
            ["", "night", "22:00", "25:00-26:00", "Mo 22:00-23:00", "10:00-10:00", "Mon Tue 10:00-11:00", "24:00-07:00", "1:00-2:00"]
        {
            assert!(text.parse::<QuietHours>().is_err(), "{text:?}");
        }
        for text in ["Europe/London", "UTC", "+05:30", "-03:00"] {
            assert_eq!(text.parse::<TimeZone>().unwrap().to_string(), text);
        }
        assert!("London".parse::<TimeZone>().is_err());
    }
}
