//! Where findings go: the first few into the report, all of them into a file where one is named.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::report::Finding;

/// Collects findings.
pub struct Findings {
    kept: Vec<Finding>,
    kept_max: usize,
    omitted: u64,
    file: Option<(PathBuf, BufWriter<File>)>,
}

impl Findings {
    /// Keeps the first `kept_max`; writes all to the file, one JSON object a line.
    pub fn new(kept_max: usize, path: Option<&Path>) -> Result<Self, Error> {
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
            kept: Vec::new(),
            kept_max,
            omitted: 0,
            file,
        })
    }

    /// Takes one more.
    pub fn add(&mut self, finding: Finding) -> Result<(), Error> {
        if let Some((path, file)) = &mut self.file {
            let written = serde_json::to_writer(&mut *file, &finding).map_err(std::io::Error::from);
            written
                .and_then(|()| file.write_all(b"\n"))
                .map_err(|error| full(path, &error))?;
        }
        match self.kept.len() < self.kept_max {
            true => self.kept.push(finding),
            false => self.omitted += 1,
        }
        Ok(())
    }

    /// The findings kept, and how many are not among them.
    pub fn finish(mut self) -> Result<(Vec<Finding>, u64), Error> {
        if let Some((path, file)) = &mut self.file {
            file.flush().map_err(|error| full(path, &error))?;
        }
        Ok((self.kept, self.omitted))
    }
}

fn full(path: &Path, error: &std::io::Error) -> Error {
    Error::failed(
        "cannot write the file of findings",
        format!("{}: {error}", path.display()),
        "make room, or name a file elsewhere",
    )
}
