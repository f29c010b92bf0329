//! How many connections each address has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Clones share the counts.
#[derive(Debug, Clone)]
pub(super) struct Peers {
    most: usize,
    /// Only addresses that have one: as many as there are connections, at most.
    present: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection of an address, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    peers: Peers,
    address: IpAddr,
}

impl Peers {
    pub(super) fn new(most: usize) -> Self {
        Self { most, present: Arc::default() }
    }

    /// `None`: this address has all that it may have.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Place> {
        // A dual-stack socket shows IPv4 in IPv6.
        let address = address.to_canonical();
        let mut present = self.present();
        let count = present.get(&address).copied().unwrap_or(0);
        if count >= self.most {
            return None;
        }
        present.insert(address, count + 1);
        drop(present);
        Some(Place { peers: self.clone(), address })
    }

    fn present(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut present = self.peers.present();
        match present.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(present.remove(&self.address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_in_either_form_and_gets_it_back() {
        let peers = Peers::new(2);
        let (four, mapped): (IpAddr, IpAddr) =
            ("10.0.0.1".parse().unwrap(), "::ffff:10.0.0.1".parse().unwrap());
        let places = (peers.enter(four).unwrap(), peers.enter(mapped).unwrap());
        assert!(peers.enter(four).is_none());
        assert!(peers.enter("10.0.0.2".parse().unwrap()).is_some());
        drop(places);
        assert!(peers.present().is_empty());
    }
}
