//! What a package installs beside the program: completions and manual pages.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use crate::failure::{Failure, infrastructure};
use crate::task::Task;

/// Completions.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

/// Manual pages.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Write a page for the program and one for each command into DIR, instead of the program's to standard output
    dir: Option<PathBuf>,
}

impl CompletionsArgs {
    pub(super) fn task(&self) -> Task {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "scenariod", &mut text);
        Task::Print(String::from_utf8_lossy(&text).into_owned())
    }
}

impl ManArgs {
    pub(super) fn task(&self) -> Result<Task, Failure> {
        if let Some(dir) = &self.dir {
            return Ok(Task::ManPages(dir.clone()));
        }
        let mut text = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut text).map_err(infrastructure)?;
        Ok(Task::Print(String::from_utf8_lossy(&text).into_owned()))
    }
}

/// Writes a page for the program and one for each command into `dir`.
pub fn write_man_pages(dir: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .with_context(|| format!("manual pages in {}", dir.display()))
        .map_err(infrastructure)
}

#[cfg(test)]
mod tests {
    use super::write_man_pages;
    use crate::cli::task;
    use crate::task::Task;

    fn printed(words: &[&str]) -> String {
        let Ok(Task::Print(text)) = task(words) else { panic!("{words:?}") };
        text
    }

    #[test]
    fn completions_know_every_command_and_flag_and_the_manual_its_sections() {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let text = printed(&["completions", shell]);
            assert!(text.contains("metastable") && text.contains("until-stable"), "{shell}");
        }
        let page = printed(&["man"]);
        assert!(page.contains(".SH OPTIONS") && page.contains("until\\-stable"), "{page}");
    }

    #[test]
    fn every_command_has_a_manual_page_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            matches!(task(&["man", dir.path().to_str().unwrap()]), Ok(Task::ManPages(to)) if to == dir.path())
        );
        write_man_pages(dir.path()).unwrap();
        for page in ["scenariod.1", "scenariod-judge.1", "scenariod-proxy.1"] {
            assert!(dir.path().join(page).is_file(), "{page}");
        }
    }
}
