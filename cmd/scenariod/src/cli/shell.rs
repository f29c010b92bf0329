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
        if let Some(dir) = &self.dir {
            let mut program = Cli::command().disable_help_subcommand(true);
            program.build();
            let mut files = Vec::new();
            add_pages(&program, &mut files).map_err(infrastructure)?;
            return Ok(Task::Write { dir: dir.clone(), files });
        }
        let mut text = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut text).map_err(infrastructure)?;
        Ok(Task::Print(String::from_utf8_lossy(&text).into_owned()))
    }
}

/// The pages of a command and of all below it, with their file names.
fn add_pages(command: &clap::Command, files: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    for below in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        add_pages(below, files)?;
    }
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    files.push((page.get_filename(), text));
    Ok(())
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
