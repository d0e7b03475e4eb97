//! The page of what breaks: each row names tests, and each of them exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every row that the page has to have.
fn wanted() -> BTreeSet<String> {
    let numbers = (1..=54).map(|row: u8| row.to_string());
    let redis = (1..=10).map(|row| format!("R{row}"));
    numbers.chain(redis).chain((1..=11).map(|row| format!("T{row}"))).collect()
}

/// The rows of the tables of one section: number, and the tests that stand in the last cell.
fn rows(page: &str) -> Vec<(String, Vec<String>)> {
    let (_, section) = page.split_once("## How it breaks").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut rows = Vec::new();
    for line in section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| #")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" |").map(str::trim).collect();
        assert!(
            cells.len() >= 4 && !cells[1].is_empty() && !cells[2].is_empty(),
            "a row of four cells: {line}"
        );
        let tests = cells[3].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        rows.push((cells[0].trim_matches(['|', ' ']).to_owned(), tests));
    }
    rows
}

/// Whether a test `file.rs::name` exists: of the library, of the program, or beside the code.
fn exists(test: &str) -> bool {
    let Some((file, name)) = test.split_once("::") else { return false };
    let library = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = [library.join("tests"), library.join("../soloist-cli/tests"), library.join("src")];
    let texts = places.iter().filter_map(|place| fs::read_to_string(place.join(file)).ok());
    texts.into_iter().any(|text| text.contains(&format!("fn {name}(")))
}

/// What is wrong with the page.
fn faults(page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut missing = wanted();
    for (row, tests) in rows(page) {
        if !missing.remove(&row) {
            faults.push(format!("row {row} is not wanted, or stands there twice"));
        }
        if tests.is_empty() {
            faults.push(format!("row {row} names no test"));
        }
        let lies = tests.iter().filter(|test| !exists(test));
        faults.extend(lies.map(|test| format!("row {row}: there is no test {test}")));
    }
    faults.extend(missing.iter().map(|row| format!("row {row} is missing")));
    faults
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/safety.md")).unwrap()
}

/// What is wrong with the races of the page.
fn race_faults(page: &str) -> Vec<String> {
    let (_, races) = page.split_once("## Every race that we found\n").unwrap();
    let races = races.split("\n## ").next().unwrap();
    let rows: Vec<&str> = races.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 20, "the races are found: {rows:?}");
    let lies = rows.into_iter().filter(|row| {
        let cell = row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap_or_default();
        let tests: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        tests.is_empty() || !tests.into_iter().all(exists)
    });
    lies.map(str::to_owned).collect()
}

#[test]
fn every_race_names_the_tests_that_keep_it_away() {
    let page = page();
    assert_eq!(race_faults(&page), Vec::<String>::new());
    let lie = page.replace("::of_a_break_nobody_else_loses_the_key` |\n", "::no_such_test` |\n");
    assert_eq!(race_faults(&lie).len(), 1);
}

#[test]
fn every_row_of_what_breaks_names_tests_that_exist() {
    assert_eq!(faults(&page()), Vec::<String>::new());
}

#[test]
fn a_page_that_lies_is_found() {
    let page = page();
    let row = page.lines().find(|line| line.starts_with("| 13 |")).unwrap();
    let bad = [
        page.replace(row, ""),
        page.replace(row, &format!("{row}\n{row}")),
        page.replace(row, "| 13 | an acquire | is asked again | |"),
        page.replace(row, "| 13 | an acquire | is asked again | `catalogue/answers_lost.rs::no_such_test` |"),
        page.replace(row, "| 13 | an acquire | is asked again | `no_such_file.rs::role` |"),
    ];
    for bad in bad {
        assert!(!faults(&bad).is_empty());
    }
}

/// A process that was forked or a machine that was cloned would repeat what a generator of ours says.
#[test]
fn every_id_is_the_systems_randomness() {
    let library = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = |file: &str| fs::read_to_string(library.join("src").join(file)).unwrap();
    let names = source("name.rs");
    let mints = names.matches("pub fn mint()").count();
    assert!(mints >= 1 && names.matches("random::fill(").count() == mints, "minted by anything else");
    // What a simulation draws from its seed is only there with the feature of tests.
    let fill = source("random.rs");
    let (_, fill) = fill.split_once("pub(crate) fn fill(").unwrap();
    let fill: String = fill.split("\n}").next().unwrap().split_whitespace().collect();
    let seeded = "#[cfg(feature=\"testing\")]ifseeded::fill(bytes){returnOk(());}getrandom::fill(bytes)";
    assert!(fill.ends_with(seeded), "{fill}");
    let manifest = fs::read_to_string(library.join("Cargo.toml")).unwrap();
    for generator in ["rand", "fastrand", "oorandom", "uuid"] {
        assert!(!manifest.lines().any(|line| line.starts_with(&format!("{generator}."))), "{generator}");
    }
}
