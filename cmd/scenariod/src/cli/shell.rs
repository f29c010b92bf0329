//! What a package installs beside the program: completions and manual pages.

use std::path::PathBuf;

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
        let Some(dir) = &self.dir else {
            let (_, text) = page(&Cli::command()).map_err(infrastructure)?;
            return Ok(Task::Print(text));
        };
        let mut program = Cli::command().disable_help_subcommand(true);
        program.build();
        let mut files = Vec::new();
        add_pages(&program, &mut files).map_err(infrastructure)?;
        Ok(Task::Write { dir: dir.clone(), files })
    }
}

/// The pages of a command and of all below it.
fn add_pages(command: &clap::Command, files: &mut Vec<(String, String)>) -> std::io::Result<()> {
    for below in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        add_pages(below, files)?;
    }
    files.push(page(command)?);
    Ok(())
}

/// The file name and the text of a command's page.
fn page(command: &clap::Command) -> std::io::Result<(String, String)> {
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    Ok((page.get_filename(), String::from_utf8_lossy(&text).into_owned()))
}

#[cfg(test)]
mod tests {
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
        let Ok(Task::Write { dir, files }) = task(&["man", "pages"]) else { panic!("no pages") };
        assert_eq!(dir.to_str(), Some("pages"));
        for page in ["scenariod.1", "scenariod-judge.1", "scenariod-proxy.1"] {
            assert!(files.iter().any(|(name, text)| name == page && !text.is_empty()), "{page}");
        }
    }
}
