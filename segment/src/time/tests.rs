use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a valid instant")
}

fn zone(name: &str) -> Zone {
    name.parse().expect("a valid zone")
}

fn floor(period: &str, t: &str, zone_name: &str) -> String {
    let zone = zone(zone_name);
    period.parse::<Period>().expect("a valid period").floor(at(t), &zone, None).to_iso_in(&zone)
}

#[test]
fn text_and_instant_agree() {
    for (text, millis) in [
        ("1970-01-01T00:00:00.000Z", 0),
        ("2015-09-12T00:46:58.771Z", 1_442_018_818_771),
        ("2015-09-12 00:46:58.771", 1_442_018_818_771),
        ("2015-09-12T02:46:58.771+02:00", 1_442_018_818_771),
        ("2015-09-11T16:46:58.771-0800", 1_442_018_818_771),
        ("2015-09-12", 1_442_016_000_000),
        ("2015-09-12T24:00:00Z", 1_442_102_400_000),
        ("2015-09-12T00:46:58.7715559Z", 1_442_018_818_771),
        ("1969-12-31T23:59:59.999Z", -1),
        ("-5000-01-01T00:00:00Z", Timestamp::MIN.as_millis()),
        ("+5001-01-01", Timestamp::MAX.as_millis()),
        ("5000-12-31T23:59:59.999Z", Timestamp::MAX.as_millis() - 1),
    ] {
        assert_eq!(at(text).as_millis(), millis, "{text}");
    }
    for text in ["2015-09-12T00:46:58.771Z", "1969-12-31T23:59:59.999Z", "-5000-01-01T00:00:00.000Z"] {
        assert_eq!(at(text).to_iso(), text);
    }
}

#[test]
fn text_of_another_form_is_refused() {
    for text in [
        "",
        "x",
        "20150912",
        "2015-13-01",
        "2015-02-30",
        "2015-09-12T25:00",
        "2015-09-12T00:61:00Z",
        "2015-09-12T00:00:00+99:00",
        "2015-09-12T00:00:00Zx",
        "2015-09-12Tx",
        "12/09/2015",
        "2015-09-12T00:00:00.Z",
    ] {
        assert!(Timestamp::parse(text).is_err(), "{text:?} was taken as {}", at(text));
    }
}

#[test]
fn offsets_are_shown_in_their_zone() {
    let t = at("2015-09-12T00:46:58.771Z");
    assert_eq!(t.to_iso_in(&zone("America/Los_Angeles")), "2015-09-11T17:46:58.771-07:00");
    assert_eq!(t.to_iso_in(&zone("+05:30")), "2015-09-12T06:16:58.771+05:30");
    assert!("Mars/Olympus".parse::<Zone>().is_err());
    assert!("+99:00".parse::<Zone>().is_err());
}

#[test]
fn floors_follow_the_calendar() {
    let t = "2015-09-12T13:46:58.771Z";
    for (period, expected) in [
        ("PT1S", "2015-09-12T13:46:58.000Z"),
        ("PT5M", "2015-09-12T13:45:00.000Z"),
        ("PT6H", "2015-09-12T12:00:00.000Z"),
        ("P1D", "2015-09-12T00:00:00.000Z"),
        ("P1W", "2015-09-07T00:00:00.000Z"),
        ("P1M", "2015-09-01T00:00:00.000Z"),
        ("P3M", "2015-07-01T00:00:00.000Z"),
        ("P1Y", "2015-01-01T00:00:00.000Z"),
    ] {
        assert_eq!(floor(period, t, "UTC"), expected, "{period}");
    }
    assert_eq!(floor("P1W", "1969-12-31T00:00:00Z", "UTC"), "1969-12-29T00:00:00.000Z");
    assert_eq!(floor("P1D", "1969-12-31T23:00:00Z", "UTC"), "1969-12-31T00:00:00.000Z");
}

#[test]
fn days_follow_local_midnight_through_both_changes_of_clocks() {
    // Clocks went forward on 2016-03-13 and back on 2016-11-06 in Los Angeles.
    let la = "America/Los_Angeles";
    assert_eq!(floor("P1D", "2016-03-13T08:30:00Z", la), "2016-03-13T00:00:00.000-08:00");
    assert_eq!(floor("P1D", "2016-03-14T06:30:00Z", la), "2016-03-13T00:00:00.000-08:00");
    assert_eq!(floor("P1D", "2016-11-07T07:30:00Z", la), "2016-11-06T00:00:00.000-07:00");
    let day = Granularity::Period(Period::of_days(1), zone(la));
    let hours = |t: &str| {
        let bucket = day.bucket(at(t));
        (bucket.end().as_millis() - bucket.start().as_millis()) / 3_600_000
    };
    assert_eq!(
        (hours("2016-03-13T12:00:00Z"), hours("2016-11-06T12:00:00Z"), hours("2016-07-01T12:00:00Z")),
        (23, 25, 24)
    );
    // The hour that comes twice stays two buckets.
    assert_eq!(floor("PT1H", "2016-11-06T08:30:00Z", la), "2016-11-06T01:00:00.000-07:00");
    assert_eq!(floor("PT1H", "2016-11-06T09:30:00Z", la), "2016-11-06T01:00:00.000-08:00");
}

#[test]
fn origins_shift_the_grid() {
    let origin = Some(at("2015-09-06T00:00:00Z"));
    let week = "P1W".parse::<Period>().expect("a period");
    assert_eq!(week.floor(at("2015-09-12T13:00:00Z"), &Zone::Utc, origin).to_iso(), "2015-09-06T00:00:00.000Z");
    let month = "P1M".parse::<Period>().expect("a period");
    let origin = Some(at("2015-01-15T00:00:00Z"));
    assert_eq!(month.floor(at("2015-09-12T13:00:00Z"), &Zone::Utc, origin).to_iso(), "2015-08-15T00:00:00.000Z");
}

#[test]
fn adding_months_clips_at_the_end_of_the_month() {
    let month = Period::of_months(1);
    assert_eq!(month.add(at("2015-01-31T10:00:00Z"), 1, &Zone::Utc).to_iso(), "2015-02-28T10:00:00.000Z");
    assert_eq!(month.add(at("2016-03-31T10:00:00Z"), -1, &Zone::Utc).to_iso(), "2016-02-29T10:00:00.000Z");
}

#[test]
fn periods_are_read_and_shown() {
    for text in ["PT1S", "PT5M", "PT6H", "P1D", "P1W", "P1M", "P3M", "P1Y", "P1DT12H", "PT0.500S"] {
        let period: Period = text.parse().expect(text);
        let again: Period = period.to_string().parse().expect("its own text");
        assert_eq!(period, again, "{text}");
    }
    for text in ["", "P", "PT", "1D", "P1X", "P1H", "PT1D", "P99999999999Y", "PTS"] {
        assert!(text.parse::<Period>().is_err(), "{text}");
    }
}

#[test]
fn intervals_are_half_open_and_never_empty() {
    let day: Interval = "2015-09-12/2015-09-13".parse().expect("an interval");
    assert!(day.contains(at("2015-09-12")) && !day.contains(at("2015-09-13")));
    assert!(Interval::new(at("2015-09-12"), at("2015-09-12")).is_err());
    let next: Interval = "2015-09-13/2015-09-14".parse().expect("an interval");
    assert!(!day.overlaps(&next) && day.intersect(&next).is_none());
}

#[test]
fn each_granularity_contains_its_instant() {
    for name in ["second", "five_minute", "hour", "six_hour", "day", "week", "month", "quarter", "year", "all", "none"]
    {
        let granularity: Granularity = name.parse().expect(name);
        for t in ["2015-09-12T13:46:58.771Z", "1969-12-31T23:59:59.999Z", "-4000-02-03T04:05:06Z"] {
            assert!(granularity.bucket(at(t)).contains(at(t)), "{name} {t}");
        }
    }
}
