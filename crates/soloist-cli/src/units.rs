//! Durations, sizes and times, as people write and read them.

use std::time::Duration;

/// Reads `30s`, `500ms`, `1h30m`. A bare number is refused: nobody can know its unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let mut total = Duration::ZERO;
    for (number, unit) in parts(text)? {
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" => return Err(format!("{number} of what? the units are ms, s, m, h and d, as in {number}s")),
            _ => return Err(format!("unknown unit {unit:?}: the units are ms, s, m, h and d, as in 1h30m")),
        };
        let part = number.checked_mul(millis).map(Duration::from_millis);
        total = part.and_then(|part| total.checked_add(part)).ok_or("it is too long")?;
    }
    Ok(total)
}

/// Reads how long to pause between two looks. One that is shorter would only keep the store busy.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let pause = duration(text)?;
    let range = Duration::from_millis(100)..=Duration::from_secs(3600);
    if range.contains(&pause) { Ok(pause) } else { Err("an interval is 100ms to 1h".into()) }
}

/// Reads `16MiB`, `500kB`, `100B`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let units = "the units are B, kB, KiB, MB, MiB, GB and GiB";
    let &[(number, unit)] = &parts(text)?[..] else {
        return Err(format!("one number and unit, please; {units}"));
    };
    let bytes = match unit {
        "B" => 1,
        "kB" | "KB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        "" => return Err(format!("{number} of what? {units}, as in {number}B")),
        _ => return Err(format!("unknown unit {unit:?}: {units}")),
    };
    number.checked_mul(bytes).ok_or_else(|| "it is too large".into())
}

fn parts(text: &str) -> Result<Vec<(u64, &str)>, String> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = match rest[..digits].parse() {
            Ok(number) => number,
            Err(_) if digits == 0 => return Err("it begins with a whole number, as in 30s".into()),
            Err(_) => return Err("the number is too large".into()),
        };
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        parts.push((number, &rest[..letters]));
        rest = &rest[letters..];
    }
    if parts.is_empty() { Err("it is empty".into()) } else { Ok(parts) }
}

/// A duration in one or two units: `450 ms`, `12 s`, `1 h 30 min`.
pub(crate) fn human(time: Duration) -> String {
    let secs = time.as_secs();
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        _ => format!("{big} {big_unit} {small} {small_unit}"),
    };
    match secs {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{secs} s"),
        60..3600 => two(secs / 60, "min", secs % 60, "s"),
        3600..86_400 => two(secs / 3600, "h", secs % 3600 / 60, "min"),
        _ => two(secs / 86_400, "d", secs % 86_400 / 3600, "h"),
    }
}

/// The clock of this machine, in microseconds since 1970.
pub(crate) fn utc_now() -> u64 {
    // It is shown to people, and decides nothing.
    #[allow(clippy::disallowed_methods)]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// A moment of the store's clock (microseconds since 1970) in UTC: `2026-11-20T22:15:00.123Z`.
pub(crate) fn utc(micros: u64) -> String {
    let (secs, millis) = (micros / 1_000_000, micros / 1000 % 1000);
    let (days, clock) = (secs / 86_400, secs % 86_400);
    // Civil date from days: eras of 400 years, counted from a 1st of March, so that the leap day comes last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in
            [("500ms", 500), ("30s", 30_000), ("1h30m", 5_400_000), ("1d", 86_400_000), ("0s", 0)]
        {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        assert!(duration("30").unwrap_err().contains("ms, s, m, h and d"));
        for bad in ["", "s", "-1s", "1.5s", "3 s", "1y", "99999999999999999999s", "99999999999999999d", "1sü"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_interval_neither_hurries_nor_stands_still() {
        for (text, millis) in [("100ms", 100), ("1s", 1000), ("1h", 3_600_000)] {
            assert_eq!(interval(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["0s", "99ms", "3600001ms", "1", "soon"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("16MiB").unwrap(), 16 << 20);
        assert_eq!(size("0B").unwrap(), 0);
        for bad in ["16", "", "MiB", "1MiB2B", "99999999999GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        /// Whatever somebody types is a duration or an error, and what is shown of it is text.
        #[test]
        fn any_text_is_read_or_refused(text in "[ 0-9]{0,22}(ms|s|m|min|h|d|B|GiB|ü|.){0,3}[0-9]{0,3}.{0,3}") {
            if let Ok(time) = duration(&text) {
                assert!(!human(time).is_empty());
                assert_eq!(duration(&format!("{}ms", time.as_millis())).ok(), u64::try_from(time.as_millis()).ok().map(|_| time));
            }
            if let Ok(bytes) = size(&text) {
                assert_eq!(size(&format!("{bytes}B")), Ok(bytes));
            }
        }

        #[test]
        fn any_moment_is_printed(micros: u64) {
            assert!(utc(micros).ends_with('Z'));
        }
    }

    #[test]
    fn times_are_read_at_a_glance() {
        assert_eq!(human(Duration::from_millis(450)), "450 ms");
        assert_eq!(human(Duration::from_secs(5400)), "1 h 30 min");
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(951_782_400_123_000), "2000-02-29T00:00:00.123Z");
        assert_eq!(utc(1_795_212_900_000_000), "2026-11-20T22:15:00.000Z");
    }
}
