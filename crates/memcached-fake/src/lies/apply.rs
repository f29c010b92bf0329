//! Carries a command out as the lies want it.

use bytes::{Bytes, BytesMut};

use super::Act;
use crate::command::Command;
use crate::store::{Item, Store};
use crate::text::line;
use crate::{meta, text};

/// Carries the command out and replies honestly.
pub(crate) fn honest(store: &mut Store, command: &Command, out: &mut BytesMut) {
    let answered = meta::answer(store, command, out).or_else(|| text::answer(store, command, out));
    if answered.is_none() {
        line(out, "ERROR");
    }
}

/// The same on a store that was lied to: what its keys hold is changed before, or put back after.
pub(crate) fn apply(store: &mut Store, command: &Command, acts: &[Act], out: &mut BytesMut) {
    if let Some(text) =
        acts.iter().find_map(|act| if let Act::ServerError(text) = act { Some(text) } else { None })
    {
        return line(out, &format!("SERVER_ERROR {text}"));
    }
    if acts.contains(&Act::LoseWrite) {
        let kept: Vec<_> = command.keys().iter().map(|key| (key, store.get(key).cloned())).collect();
        honest(store, command, out);
        for (key, item) in kept {
            store.lay(key, item);
        }
        return;
    }
    let reads = matches!(command.name(), Some(b"mg" | b"get" | b"gets"));
    // All chosen before the first is laid, so that none is another's foreign value.
    let mut chosen: Vec<(&Bytes, Option<Item>)> = Vec::new();
    for key in command.keys().iter().filter(|_| reads) {
        if !chosen.iter().any(|(other, _)| *other == key)
            && let Some(item) = instead(store, key, acts)
        {
            chosen.push((key, item));
        }
    }
    let laid: Vec<_> =
        chosen.into_iter().map(|(key, item)| (key, item.is_some(), store.lay(key, item))).collect();
    honest(store, command, out);
    for (key, hit, mut item) in laid {
        // A read may have touched it.
        match (&mut item, store.get(key)) {
            (Some(item), Some(seen)) => item.expires = seen.expires,
            (Some(_), None) if hit => item = None,
            _ => {}
        }
        store.lay(key, item);
    }
}

/// What a read of the key shall find instead; `None`: no lie.
fn instead(store: &mut Store, key: &Bytes, acts: &[Act]) -> Option<Option<Item>> {
    let own = store.get(key).cloned();
    let expires = own.as_ref().and_then(|own| own.expires);
    acts.iter().find_map(|act| match act {
        Act::ForeignValue => store.foreign(key).map(|foreign| {
            Some(Item { value: foreign.value.clone(), flags: foreign.flags, expires, ..Item::default() })
        }),
        Act::StaleValue => own.as_ref().map(|own| {
            let before = own.previous.clone();
            before.map(|(value, flags)| Item { value, flags, expires, ..Item::default() })
        }),
        _ => None,
    })
}
