//! What the project's style asks for and no other tool checks. Every finding names the file, the rule and the reason.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// One claim a file: longer ones hold two.
const LINES_MAX: usize = 550;

const COLUMNS_MAX: usize = 160;

/// What the Thrift compiler writes, by its own rules.
const GENERATED: &str = "mysync/hbase-thrift2/src/hbase.rs";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files of the crates, `ci` and `docs` with one of these endings.
fn files(endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["mysync", "consistency", "fixtures", "chaos", "ci", "docs"]
        .iter()
        .map(|name| root().join(name))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                if name != GENERATED {
                    found.push((name, fs::read_to_string(&path).unwrap()));
                }
            }
        }
    }
    found.sort();
    assert!(
        !found.is_empty(),
        "no files with {endings:?} below {}",
        root().display()
    );
    found
}

fn require_none(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn every_source_file_says_first_what_it_is_and_holds_one_claim() {
    let mut findings = Vec::new();
    for (name, text) in files(&[".rs"]) {
        if !text.starts_with("//!") {
            findings.push(format!("{name}: begin with a //! line that says what the file is"));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            findings.push(format!(
                "{name}: {lines} lines, more than {LINES_MAX}: it holds more than one claim, split it"
            ));
        }
    }
    require_none(findings);
}

#[test]
fn no_line_is_too_long_for_a_review_or_ends_in_blanks() {
    let mut findings = Vec::new();
    for (name, text) in files(&[
        ".rs",
        ".sh",
        ".toml",
        "ci/setup",
        "ci/test",
        "ci/demo",
        "ci/drills",
        "ci/bench",
        "ci/fuzz",
        "ci/nightly",
    ]) {
        for (index, line) in text.lines().enumerate() {
            if line.chars().count() > COLUMNS_MAX && !line.contains("http") {
                findings.push(format!(
                    "{name}:{}: {} columns, more than {COLUMNS_MAX}",
                    index + 1,
                    line.chars().count()
                ));
            }
            if line.ends_with([' ', '\t']) {
                findings.push(format!("{name}:{}: blanks at the end", index + 1));
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            findings.push(format!("{name}: no newline at the end"));
        }
    }
    require_none(findings);
}

#[test]
fn nothing_lands_half_done() {
    // Written in two parts, so that this file does not find itself.
    let marks = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["todo", "!("],
        ["unimplemented", "!("],
        ["#[igno", "re"],
        ["XX", "X:"],
    ]
    .map(|parts| parts.concat());
    let mut findings = Vec::new();
    for (name, text) in files(&[
        ".rs",
        ".sh",
        ".md",
        "ci/setup",
        "ci/test",
        "ci/demo",
        "ci/drills",
        "ci/bench",
        "ci/fuzz",
        "ci/nightly",
    ]) {
        for mark in &marks {
            if text.contains(mark.as_str()) {
                findings.push(format!("{name}: holds {mark}: finish it, or leave it out"));
            }
        }
    }
    require_none(findings);
}

#[test]
fn the_crates_know_only_whom_they_may() {
    let manifest = |name: &str| fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
    let dependencies = |name: &str| {
        let text = manifest(name);
        let section = text
            .split("[dependencies]")
            .nth(1)
            .unwrap()
            .split("\n[")
            .next()
            .unwrap()
            .to_owned();
        section
            .lines()
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let knows = |name: &str, other: &str| dependencies(name).iter().any(|dependency| dependency == other);
    for (who, whom, why) in [
        (
            "consistency",
            "mysync",
            "a checker that shares the writer's code shares its bugs",
        ),
        ("consistency", "rdkafka", "the checker sees only MySQL and the stores"),
        ("consistency", "fixtures", "the checker works on servers that are there"),
        ("mysync", "consistency", "the product stands alone"),
        ("mysync", "fixtures", "the product does not know the lab"),
        ("mysync", "testcontainers", "only fixtures knows Docker"),
        ("chaos", "testcontainers", "only fixtures knows Docker"),
        ("consistency", "testcontainers", "only fixtures knows Docker"),
        ("fixtures", "mysync", "the lab serves any pipeline"),
        ("fixtures", "consistency", "the lab serves any checker"),
    ] {
        assert!(!knows(who, whom), "{who} must not depend on {whom}: {why}");
    }
    assert!(
        !manifest("consistency").contains("mysync."),
        "consistency must not depend on mysync, not for its tests either"
    );
}

#[test]
fn the_readme_names_every_room() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut findings = Vec::new();
    for name in ["mysync", "consistency", "fixtures", "chaos"] {
        let library = fs::read_to_string(root().join(name).join("src/lib.rs")).unwrap();
        for module in library.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
            let module = module.trim_end_matches(';');
            if !readme.contains(&format!("`{module}`")) {
                findings.push(format!(
                    "README.md: the code map does not name module `{module}` of {name}"
                ));
            }
        }
    }
    require_none(findings);
}
