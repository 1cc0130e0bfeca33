//! The proof: asks every header, and looks every import up.

use crate::compare::{Compared, unexplained};
use crate::exceptions::EXCEPTIONS;
use crate::headers::Header;
use crate::model::Table;
use crate::probe::{Answer, ask};
use crate::{Error, Result, imports, transcript};
use std::collections::BTreeSet;
use std::fmt;

/// What the headers say.
#[derive(Debug)]
pub struct Witnesses {
    answers: Vec<Answer>,
}

/// What came out.
#[derive(Debug)]
pub struct Proof {
    /// What was compared, by headers.
    pub compared: Vec<Compared>,
    /// How many imported functions are in the import libraries.
    pub imports: usize,
    /// What is wrong. Empty if wsk-sys is proved.
    pub unexplained: Vec<String>,
}

impl Witnesses {
    /// Asks the headers for everything that wsk-sys declares.
    pub fn hear() -> Result<Witnesses> {
        let folder = tempfile::tempdir().map_err(Error::io(&std::env::temp_dir()))?;
        let table = Table::wsk_sys();
        let mut answers = Vec::new();
        for header in [Header::mingw()?, Header::wine()?] {
            answers.push(ask(&header, &table, folder.path())?);
        }
        for (header, table) in [("windows-sys", Table::windows_sys()), (transcript::NAME, transcript::table())] {
            answers.push(Answer { header, table, lost: BTreeSet::new() });
        }
        Ok(Witnesses { answers })
    }

    /// Compares a table with what they say.
    pub fn prove(&self, table: &Table) -> Result<Proof> {
        let compared: Vec<_> = self.answers.iter().map(|answer| Compared::new(table, answer)).collect();
        let (imports, missing) = imports::look_up(table)?;
        let mut unexplained = unexplained(table, &compared);
        unexplained.extend(missing.into_iter().map(|function| format!("{function}: not in its import library")));
        Ok(Proof { compared, imports, unexplained })
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12} {:>10} {:>7} {:>10} {:>10}", "compared", "structures", "fields", "constants", "functions")?;
        for compared in &self.compared {
            writeln!(f, "{compared}")?;
        }
        writeln!(f, "{} imported functions found in import libraries", self.imports)?;
        writeln!(f, "{} exceptions:", EXCEPTIONS.iter().map(|it| it.items.len()).sum::<usize>())?;
        for exception in EXCEPTIONS {
            let who = exception.header.unwrap_or("nobody has it");
            writeln!(f, "    {who}: {}: {}", exception.items.join(", "), exception.reason)?;
        }
        writeln!(f, "{} unexplained differences", self.unexplained.len())?;
        for difference in &self.unexplained {
            writeln!(f, "    {difference}")?;
        }
        Ok(())
    }
}
