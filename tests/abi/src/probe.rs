//! Asks a C compiler: a program with one line per question is compiled, not run, and the answers are read from its object
//! file. What does not compile because the headers do not have it is left out and reported as absent.

use crate::headers::{COMPILER, Header, Unit, c_constant, c_field, c_function, c_structure};
use crate::model::{Constant, Field, Function, Structure, Table};
use crate::object::Answers;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// What a set of headers says of the names that wsk-sys declares.
#[derive(Debug)]
pub struct Answer {
    /// Who says it.
    pub header: &'static str,
    /// What it has; several times where several of its C files do.
    pub table: Table,
    /// What a structure that it has is without: `IRP.Field`.
    pub lost: BTreeSet<String>,
}

/// Asks a set of headers for everything in a table.
pub fn ask(header: &Header, table: &Table, folder: &Path) -> Result<Answer> {
    let mut answer = Answer { header: header.name, table: Table::default(), lost: BTreeSet::new() };
    for unit in &header.units {
        let (answers, absent) = compile(unit, &questions(table), folder)?;
        collect(table, &answers, &absent, &mut answer)?;
    }
    Ok(answer)
}

/// Number of a question, which is also that of its line of C.
type Line = usize;

/// A question. Those of a table always come in the same order.
enum Question<'a> {
    Size(&'a Structure),
    Align(&'a Structure),
    Offset(&'a Structure, &'a Field),
    FieldSize(&'a Structure, &'a Field),
    FieldType(&'a Structure, &'a Field),
    Constant(&'a Constant),
    Function(&'a Function),
}

/// All questions of a table.
fn questions(table: &Table) -> Vec<Question<'_>> {
    let mut all = Vec::new();
    for structure in &table.structures {
        all.extend([Question::Size(structure), Question::Align(structure)]);
        for field in &structure.fields {
            all.push(Question::Offset(structure, field));
            all.push(Question::FieldSize(structure, field));
            all.push(Question::FieldType(structure, field));
        }
    }
    all.extend(table.constants.iter().map(Question::Constant));
    all.extend(table.functions.iter().map(Question::Function));
    all
}

impl Question<'_> {
    /// The line of C that asks it.
    fn text(&self, line: Line) -> String {
        let value = |expression: String| format!("const unsigned long long abi_value_{line} = {expression};");
        let ty = |expression: String| format!("__typeof__({expression}) *abi_type_{line};");
        let path = |structure: &Structure, field: &Field| {
            format!("(({} *)0)->{}", c_structure(structure.name), c_field(structure.name, field.name))
        };
        match self {
            Question::Size(it) => value(format!("sizeof({})", c_structure(it.name))),
            Question::Align(it) => value(format!("_Alignof({})", c_structure(it.name))),
            Question::Offset(it, field) => {
                value(format!("__builtin_offsetof({}, {})", c_structure(it.name), c_field(it.name, field.name)))
            }
            Question::FieldSize(it, field) => value(format!("sizeof({})", path(it, field))),
            Question::FieldType(it, field) => ty(path(it, field)),
            Question::Constant(it) => value(format!("(unsigned long long)({})", c_constant(it.name))),
            // A type of pointers to functions is pointer enough.
            Question::Function(it) if is_pointer_type(it) => format!("{} abi_type_{line};", it.name),
            Question::Function(it) => ty(c_function(it.name).to_owned()),
        }
    }

    /// The words of C without which there is nothing to ask.
    fn words(&self) -> impl Iterator<Item = &str> {
        let text = match self {
            Question::Size(it)
            | Question::Align(it)
            | Question::Offset(it, _)
            | Question::FieldSize(it, _)
            | Question::FieldType(it, _) => c_structure(it.name),
            Question::Constant(it) => c_constant(it.name),
            Question::Function(it) => c_function(it.name),
        };
        words(text).filter(|word| !["__typeof__", "struct"].contains(word))
    }

    /// The structure that a question is about.
    fn structure(&self) -> Option<&str> {
        match self {
            Question::Size(it)
            | Question::Align(it)
            | Question::Offset(it, _)
            | Question::FieldSize(it, _)
            | Question::FieldType(it, _) => Some(it.name),
            Question::Constant(_) | Question::Function(_) => None,
        }
    }
}

/// The identifiers of a text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    words.filter(|word| word.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_'))
}

/// Every identifier of a C file's headers, macros too.
fn known_words(unit: &Unit, folder: &Path) -> Result<BTreeSet<String>> {
    let source = folder.join(format!("{}.h", unit.name));
    std::fs::write(&source, unit.prologue).map_err(Error::io(&source))?;
    let output = compiler(unit).args(["-E", "-dD"]).arg(&source).output().map_err(no_compiler)?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::Compile { unit: unit.name, output });
    }
    Ok(words(&String::from_utf8_lossy(&output.stdout)).map(str::to_owned).collect())
}

/// The compiler, set up for a C file.
fn compiler(unit: &Unit) -> Command {
    let mut command = Command::new(COMPILER);
    command.env("LC_ALL", "C").args(["-std=gnu11", "-w", "-g", "-gdwarf-4", "-fno-diagnostics-show-caret"]);
    command.args(&unit.arguments);
    command
}

/// The error of a compiler that cannot be started.
fn no_compiler(_: std::io::Error) -> Error {
    Error::Missing { package: "gcc-mingw-w64-x86-64-win32" }
}

/// Compiles all questions but those whose names the headers do not have, which are given back.
fn compile(unit: &Unit, questions: &[Question<'_>], folder: &Path) -> Result<(Answers, BTreeSet<Line>)> {
    let (source, object) = (folder.join(format!("{}.c", unit.name)), folder.join(format!("{}.o", unit.name)));
    let failed = |output: &str| Error::Compile { unit: unit.name, output: output.to_owned() };
    let prologue = unit.prologue.lines().count();
    // Most of what is absent shows by its name. (Compilers take long to say so: they look for a name that resembles it.)
    let known = known_words(unit, folder)?;
    let lines = questions.iter().enumerate();
    let unknown = lines.filter(|(_, question)| !question.words().all(|word| known.contains(word)));
    let mut absent: BTreeSet<Line> = unknown.map(|(line, _)| line).collect();
    // The rest is found in the first round; the second shows that nothing else is wrong.
    for _ in 0..4 {
        let mut text = unit.prologue.to_owned();
        for (line, question) in questions.iter().enumerate() {
            let _ = writeln!(text, "{}", if absent.contains(&line) { String::new() } else { question.text(line) });
        }
        std::fs::write(&source, text).map_err(Error::io(&source))?;
        let output = compiler(unit).arg("-c").arg(&source).arg("-o").arg(&object).output().map_err(no_compiler)?;
        if output.status.success() {
            return Ok((Answers::read(&object)?, absent));
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        let mut found = Vec::new();
        for (line, message) in errors.lines().filter_map(|line| error_in(line, &source)) {
            let line = line.checked_sub(prologue + 1).ok_or_else(|| failed(&errors))?;
            found.push((line, message));
        }
        // Without the structure there is nothing to say of its parts. The compiler names what is not there once only, so that
        // the first to complain may be one of them.
        let gone: BTreeSet<&str> = found
            .iter()
            .filter_map(|(line, message)| {
                let structure = questions.get(*line)?.structure();
                structure.filter(|_| !message.contains(NO_MEMBER))
            })
            .collect();
        for (line, question) in questions.iter().enumerate() {
            if question.structure().is_some_and(|structure| gone.contains(structure)) {
                absent.insert(line);
            }
        }
        let before = absent.len();
        for (line, message) in found {
            if absent.insert(line) && !is_absence(message) {
                let question = questions.get(line).map(|question| question.text(line));
                return Err(failed(&format!("{}\n{message}", question.unwrap_or_default())));
            }
        }
        if absent.len() == before && gone.is_empty() {
            return Err(failed(&errors));
        }
    }
    Err(failed("there is always one more absent name"))
}

/// `PFN_...` and `P..._ROUTINE`: the names that headers give to types of pointers to functions.
fn is_pointer_type(function: &Function) -> bool {
    let name = c_function(function.name);
    function.library.is_none() && (name.starts_with("PFN_") || name.starts_with('P') && name == name.to_uppercase())
}

/// Line and text of the compiler's `file:line:column: error: text`.
fn error_in<'a>(line: &'a str, source: &Path) -> Option<(usize, &'a str)> {
    let rest = line.strip_prefix(source.to_str()?)?.strip_prefix(':')?;
    let (number, rest) = rest.split_once(':')?;
    let (_, message) = rest.split_once("error: ")?;
    Some((number.parse().ok()?, message))
}

/// What the compiler says of a field that is not there.
const NO_MEMBER: &str = "has no member named";

/// Whether an error says that a name is not there. Any other is a fault of the question.
fn is_absence(message: &str) -> bool {
    let absences = [
        "undeclared",
        "unknown type name",
        NO_MEMBER,
        "incomplete type",
        // Of a macro that is not there: a call.
        "initializer element is not constant",
    ];
    absences.iter().any(|absence| message.contains(absence))
}

/// Puts the answers of one C file into the table of its headers.
fn collect(table: &Table, answers: &Answers, absent: &BTreeSet<Line>, answer: &mut Answer) -> Result<()> {
    let mut structures: BTreeMap<&str, Structure> = BTreeMap::new();
    for (line, question) in questions(table).into_iter().enumerate() {
        let there = !absent.contains(&line);
        match question {
            Question::Size(it) if there => {
                let structure = Structure { name: it.name, size: answers.value(line)?, align: 0, fields: Vec::new() };
                structures.insert(it.name, structure);
            }
            Question::Align(it) if there => {
                if let Some(structure) = structures.get_mut(it.name) {
                    structure.align = answers.value(line)?;
                }
            }
            Question::Offset(it, field) => {
                let Some(structure) = structures.get_mut(it.name) else { continue };
                if there {
                    let (size, ty) = (answers.value(line + 1)?, answers.ty(line + 2)?);
                    structure.fields.push(Field { name: field.name, offset: answers.value(line)?, size, ty });
                } else {
                    answer.lost.insert(format!("{}.{}", it.name, field.name));
                }
            }
            Question::Constant(it) if there => {
                let constant = Constant { name: it.name, bytes: 8, value: answers.value(line)?.into() };
                answer.table.constants.push(constant);
            }
            Question::Function(it) if there => {
                answer.table.functions.push(Function { name: it.name, library: None, ty: answers.ty(line)? });
            }
            _ => {}
        }
    }
    answer.table.structures.extend(structures.into_values());
    Ok(())
}
