use super::*;

/// A run of one suite: its cases with what was expected, and their result lines.
fn ran(environment: Environment, cases: &[(&str, &str, &str)]) -> Ran {
    let mut list = String::new();
    let mut text = format!("KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: s\n    1..{}\n", cases.len());
    for (number, (name, expected, result)) in (1..).zip(cases) {
        list += &format!("s.{name} limit_ms=1{expected}\n");
        let (ok, directive) = result.split_once(' ').unwrap_or((result, ""));
        let ok = if ok == "ok" { "ok" } else { "not ok" };
        text += &format!("    {ok} {number} {name} {directive}\n");
    }
    let all = if cases.iter().any(|(.., result)| result.starts_with("not")) { "not ok" } else { "ok" };
    text += &format!("{all} 1 s\n");
    Ran { environment, listed: Listed::read(&list).expect("it is a list"), report: Report::read(&text) }
}

fn compare(left: &[(&str, &str, &str)], right: &[(&str, &str, &str)]) -> SideBySide {
    SideBySide::new(&ran(Environment::Ntsim, left), &ran(Environment::Wine, right))
}

const SKIP: &str = " expected=skip";
const FAIL: &str = " expected=fail";

#[test]
fn what_is_the_same_or_listed_is_no_fault() {
    let left =
        [("a", "", "ok"), ("b", "", "ok"), ("c", "", "ok"), ("d", SKIP, "ok # SKIP no d"), ("e", "", "ok # SKIP x")];
    let right = [
        ("a", "", "ok"),
        ("b", SKIP, "ok # SKIP wine lacks dpc"),
        ("c", FAIL, "ok # XFAIL a bug"),
        ("d", "", "ok"),
        ("e", "", "ok # SKIP x"),
    ];
    let both = compare(&left, &right);
    assert_eq!((both.counts(), both.faults()), ((5, 2, 3), [].as_slice()), "{both}");
    for line in [
        "   ntsim   wine",
        "s.a  ok      ok",
        "s.b  ok      skip    wine lacks dpc",
        "s.c  ok      xfail   a bug",
        "s.d  skip    ok      no d",
        "5 cases: 2 with the same result, 3 with a difference that is listed",
    ] {
        assert!(both.to_string().lines().any(|found| found.trim() == line.trim()), "{line}: {both}");
    }
}

#[test]
fn failures_and_what_is_not_listed_are_faults() {
    let good = [("a", "", "ok"), ("b", "", "ok")];
    for (right, fault) in [
        ([("a", "", "ok"), ("b", "", "not ok")], "s.b differs, which is not listed"),
        ([("a", "", "ok"), ("b", "", "ok # SKIP too busy")], "s.b differs, which is not listed"),
        ([("a", "", "ok"), ("c", "", "ok")], "they do not list the same cases"),
    ] {
        let both = compare(&good, &right);
        assert!(both.faults().iter().any(|found| found == fault), "{both}");
        assert!(both.to_string().contains(fault));
    }
    let both = compare(&[("a", "", "not ok")], &[("a", "", "not ok")]);
    assert_eq!((both.counts().1, both.faults().is_empty()), (0, false), "that both fail is no agreement");
    let lost = SideBySide::new(
        &ran(Environment::Ntsim, &good),
        &Ran { report: Report::read(""), ..ran(Environment::Wine, &good) },
    );
    assert!(lost.faults().iter().any(|found| found == "in wine: there is no report in the output"), "{lost}");
}
