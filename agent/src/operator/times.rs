//! Times for people.

/// A day in seconds.
const DAY: u64 = 86_400;

/// `3 s`, `5 m`, `7 h`, `12 d`.
pub fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} m", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / DAY),
    }
}

/// The age of a moment, both in seconds since 1970.
pub fn ago(then: u64, now: u64) -> String {
    age(now.saturating_sub(then))
}

/// `03:12:07 UTC (4 m)`; where that is not enough, `2026-11-27 03:12:07 UTC (4 d)`.
pub fn since(then: u64, now: u64) -> String {
    let time = time(then);
    let ago = ago(then, now);
    match now.saturating_sub(then) {
        0..DAY => format!("{time} ({ago})"),
        _ => format!("{} {time} ({ago})", date(then)),
    }
}

/// `03:12:07 UTC`; where that is not today's or last night's, `2026-11-27 03:12:07 UTC`.
pub fn moment(then: u64, now: u64) -> String {
    match now.saturating_sub(then) {
        0..DAY => time(then),
        _ => format!("{} {}", date(then), time(then)),
    }
}

/// The time of day.
pub fn time(seconds: u64) -> String {
    let of_day = seconds % DAY;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{hour:02}:{minute:02}:{second:02} UTC")
}

fn date(seconds: u64) -> String {
    let mut days = seconds / DAY;
    let mut year = 1970;
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let of_year = |year| if is_leap(year) { 366 } else { 365 };
    while days >= of_year(year) {
        days -= of_year(year);
        year += 1;
    }
    let february = of_year(year) - 337;
    let mut month = 1;
    for of_month in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < of_month {
            break;
        }
        days -= of_month;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_one_unit() {
        let ages = [0, 119, 120, 7_199, 7_200, 172_800].map(age);
        assert_eq!(ages, ["0 s", "119 s", "2 m", "119 m", "2 h", "2 d"]);
    }

    #[test]
    fn a_moment_of_another_day_has_its_date() {
        let then = 1_709_175_127;
        assert_eq!(since(then, then + 240), "02:52:07 UTC (4 m)");
        assert_eq!(since(then, then + 4 * DAY), "2024-02-29 02:52:07 UTC (4 d)");
    }

    #[test]
    fn dates_are_the_calendars() {
        let dates = [0, 951_782_400, 951_868_800, 1_798_675_199].map(date);
        assert_eq!(
            dates,
            ["1970-01-01", "2000-02-29", "2000-03-01", "2026-12-30"]
        );
    }
}
