//! When a feed is asked again. Pure: chance comes as an argument.

use std::time::Duration;

/// A feed that fails is asked at least so often, unless its interval is longer.
const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);
/// What a server may ask for.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// How the last request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Well,
    /// For the so-many-th time in a row, from 1.
    Badly {
        times: u32,
    },
}

/// How long to wait. `chance`, from 0 to 1, parts feeds that began together. A server's `retry_after` is kept to.
pub fn pause(interval: Duration, ended: Ended, retry_after: Option<Duration>, chance: f64) -> Duration {
    let usual = match ended {
        // Within a twentieth around the interval.
        Ended::Well => interval.mul_f64(0.95 + 0.1 * chance),
        Ended::Badly { times } => {
            let longest = LONGEST_BACKOFF.max(interval);
            let doubled = interval.checked_mul(2u32.saturating_pow(times.min(16))).map_or(longest, |doubled| doubled.min(longest));
            doubled.mul_f64(0.5 + 0.5 * chance)
        }
    };
    let asked = retry_after.map(|asked| asked.min(LONGEST_RETRY_AFTER).mul_f64(1.0 + 0.1 * chance));
    usual.max(asked.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_feed_that_is_well_is_asked_about_every_interval() {
        assert_eq!(pause(MINUTE, Ended::Well, None, 0.0), Duration::from_secs(57));
        assert_eq!(pause(MINUTE, Ended::Well, None, 1.0), Duration::from_secs(63));
    }

    #[test]
    fn a_feed_that_fails_is_asked_ever_more_seldom_and_never_given_up() {
        let after = |times| pause(MINUTE, Ended::Badly { times }, None, 1.0);
        assert_eq!([1, 2, 3].map(after), [2 * MINUTE, 4 * MINUTE, 8 * MINUTE]);
        assert_eq!([6, 16, u32::MAX].map(after), [LONGEST_BACKOFF; 3]);
        let daily = Duration::from_secs(86_400);
        assert_eq!(pause(daily, Ended::Badly { times: 9 }, None, 1.0), daily, "but never sooner than half its interval");
    }

    #[test]
    fn a_server_that_says_when_is_asked_no_sooner_unless_it_says_never() {
        let asked = |asked| pause(MINUTE, Ended::Badly { times: 1 }, Some(asked), 0.0);
        assert_eq!(asked(Duration::from_secs(7_200)), Duration::from_secs(7_200));
        assert_eq!(asked(Duration::from_secs(1)), MINUTE);
        assert_eq!(asked(Duration::MAX), LONGEST_RETRY_AFTER);
    }
}
