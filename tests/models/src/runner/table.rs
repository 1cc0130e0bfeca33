//! The two tables: scenarios, whose searches must not fail; bugs, each of which a search must find.

use super::TOOLS;
use super::job::{Answer, Verdict};
use std::collections::BTreeMap;

/// Prints both; whether everything is as it should be.
pub(super) fn print(answers: &[Answer]) -> bool {
    let (scenarios, bugs): (Vec<&Answer>, Vec<&Answer>) = answers.iter().partition(|answer| answer.job.bug.is_none());
    let mut good = true;

    println!("\nScenarios: executions; \"all\" where the search ended, \"cut\" where time or executions ran out.");
    let rows = rows(&scenarios, |answer| answer.job.scenario.clone());
    heading("scenario");
    for row in &rows {
        line(&row[0].job.scenario, &row[0].job.about, row, |answer| match &answer.verdict {
            Verdict::Ended => format!("{} all", answer.executions),
            Verdict::Cut => format!("{} cut", answer.executions),
            Verdict::Failed(_) => format!("FAILED @{}", answer.executions),
            Verdict::Unexpected => "NO ANSWER".to_owned(),
        });
    }
    for answer in scenarios.iter().filter(|answer| answer.failed()) {
        good = false;
        println!("FAILED: {answer}");
    }

    println!("\nDeliberate bugs: executions until found; \"-\" where the search did not find it.");
    let mut rows = self::rows(&bugs, |answer| answer.job.bug.as_ref().map_or(0, |bug| bug.number));
    rows.sort_by_key(|row| row[0].job.bug.as_ref().map_or(0, |bug| bug.number));
    heading("bug");
    for row in &rows {
        let bug = row[0].job.bug.as_ref().expect("a bug's row");
        let about = format!("{} ({})", bug.about, row[0].job.scenario);
        line(&bug.number.to_string(), &about, row, |answer| match &answer.verdict {
            Verdict::Failed(_) => answer.executions.to_string(),
            Verdict::Ended => format!("- (all {})", answer.executions),
            Verdict::Cut => "-".to_owned(),
            Verdict::Unexpected => "NO ANSWER".to_owned(),
        });
        if !row.iter().any(|answer| matches!(answer.verdict, Verdict::Failed(_))) {
            good = false;
            println!("NOT FOUND: bug {}", bug.number);
        }
        good &= !row.iter().any(|answer| answer.verdict == Verdict::Unexpected);
    }
    println!(
        "\n{} scenarios, {} deliberate bugs",
        self::rows(&scenarios, |a| a.job.scenario.clone()).len(),
        rows.len()
    );
    good
}

/// Answers that belong to one row, in the order in which the rows first appear.
fn rows<'a, K: Ord>(answers: &[&'a Answer], key: impl Fn(&Answer) -> K) -> Vec<Vec<&'a Answer>> {
    let mut index = BTreeMap::new();
    let mut rows: Vec<Vec<&Answer>> = Vec::new();
    for answer in answers {
        let row = *index.entry(key(answer)).or_insert(rows.len());
        match rows.get_mut(row) {
            Some(row) => row.push(answer),
            None => rows.push(vec![answer]),
        }
    }
    rows
}

fn searches() -> impl Iterator<Item = &'static str> {
    TOOLS.iter().flat_map(|tool| tool.searches.iter().copied())
}

fn heading(name: &str) {
    print!("{name:<9}");
    for search in searches() {
        print!("{search:>14}");
    }
    println!("   what");
}

fn line(name: &str, about: &str, row: &[&Answer], cell: impl Fn(&Answer) -> String) {
    print!("{name:<9}");
    for search in searches() {
        let text =
            row.iter().find(|answer| answer.job.search == search).map_or_else(String::new, |answer| cell(answer));
        print!("{text:>14}");
    }
    println!("   {about}");
}
