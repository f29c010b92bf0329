//! Run folders: `<runs>/<time>-<scenario>`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use observation::clock;

/// Tries for a folder name that is not taken.
const FOLDER_TRIES: u32 = 1000;

/// Makes `<runs>/<time>-<name>`, with a number behind it when that is taken. Where it cannot be made, whoever writes into it will
/// say why.
pub fn folder(runs: &Path, name: &str) -> PathBuf {
    let stamp =
        humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_millis(clock::wall_ms()));
    let stamp: String = stamp.to_string().chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let base = format!("{stamp}-{name}");
    let numbered = (1..FOLDER_TRIES).map(|n| if n == 1 { base.clone() } else { format!("{base}-{n}") });
    let mut paths = numbered.map(|name| runs.join(name));
    // Made, not looked for: another run of this moment may want the same name.
    let taken = |path: &PathBuf| {
        std::fs::create_dir(path).is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists)
    };
    paths.find(|path| !taken(path)).unwrap_or_else(|| runs.join(&base))
}

/// Is that a name that [`folder`] makes?
pub fn is_folder(name: &str) -> bool {
    let Some((stamp, rest)) = name.split_once('-') else { return false };
    let stamped = stamp.len() == "20260131T120000Z".len()
        && stamp.bytes().enumerate().all(|(n, byte)| match n {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    // A scenario's name and a number.
    stamped && !rest.is_empty() && rest.len() <= 80 && rest.bytes().all(plain)
}
