//! Values that say whose they are: `key|version|xxx...`.

use memcache_client::Bytes;

/// A value of `key`, longer by `padding` bytes than it must be.
pub(crate) fn make(key: &str, version: u64, padding: usize) -> Bytes {
    let mut text = format!("{key}|{version}|");
    text.extend(std::iter::repeat_n('x', padding));
    text.into()
}

/// The version, if this is a whole value of `key`.
pub(crate) fn version(key: &str, value: &[u8]) -> Result<u64, String> {
    let shown = || format!("{:?}", String::from_utf8_lossy(&value[..value.len().min(60)]));
    let text = std::str::from_utf8(value).map_err(|_| shown())?;
    let mut parts = text.split('|');
    match (parts.next(), parts.next().map(str::parse), parts.next(), parts.next()) {
        (Some(owner), Some(Ok(version)), Some(padding), None)
            if owner == key && padding.bytes().all(|byte| byte == b'x') =>
        {
            Ok(version)
        }
        _ => Err(shown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_values_of_the_key_pass() {
        assert_eq!(version("k:1", &make("k:1", 7, 3)), Ok(7));
        for wrong in [&b"k:2|7|xxx"[..], b"k:1|7", b"k:1|7|x|", b"k:1|7|xy", b"", b"\xff"] {
            assert!(version("k:1", wrong).is_err());
        }
    }
}
