//! Where findings go: the first few into the report, all of them into a file where one is named.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::report::Finding;

/// Collects findings.
pub struct Findings {
    /// By the store's place.
    kept: Vec<Kept>,
    kept_max: usize,
    file: Option<(PathBuf, BufWriter<File>)>,
}

/// The findings of one store that go into the report.
#[derive(Default)]
pub struct Kept {
    /// The first ones.
    pub findings: Vec<Finding>,
    /// How many there were beyond those.
    pub omitted: u64,
}

impl Findings {
    /// Keeps the first `kept_max` of each store; writes all to the file, one JSON object a line.
    pub fn new(stores: usize, kept_max: usize, path: Option<&Path>) -> Result<Self, Error> {
        let file = match path {
            None => None,
            Some(path) => match File::create(path) {
                Ok(file) => Some((path.to_owned(), BufWriter::new(file))),
                Err(error) => {
                    return Err(Error::configuration(
                        "cannot write the file of findings",
                        format!("{}: {error}", path.display()),
                        "name a file in a directory that exists: --findings-file FILE",
                    ));
                }
            },
        };
        Ok(Self {
            kept: std::iter::repeat_with(Kept::default).take(stores).collect(),
            kept_max,
            file,
        })
    }

    /// Takes one more, of the store at this place.
    pub fn add(&mut self, store: usize, finding: Finding) -> Result<(), Error> {
        if let Some((path, file)) = &mut self.file {
            let written = serde_json::to_writer(&mut *file, &finding).map_err(std::io::Error::from);
            written
                .and_then(|()| file.write_all(b"\n"))
                .map_err(|error| full(path, &error))?;
        }
        let kept = &mut self.kept[store];
        match kept.findings.len() < self.kept_max {
            true => kept.findings.push(finding),
            false => kept.omitted += 1,
        }
        Ok(())
    }

    /// The findings kept of each store, and how many are not among them.
    pub fn finish(mut self) -> Result<Vec<Kept>, Error> {
        if let Some((path, file)) = &mut self.file {
            file.flush().map_err(|error| full(path, &error))?;
        }
        Ok(self.kept)
    }
}

fn full(path: &Path, error: &std::io::Error) -> Error {
    Error::failed(
        "cannot write the file of findings",
        format!("{}: {error}", path.display()),
        "make room, or name a file elsewhere",
    )
}
