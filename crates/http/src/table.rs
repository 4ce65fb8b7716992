//! Who is connected, and who makes room when there are too many.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::task::{AbortHandle, Id};

use crate::Limits;
use crate::activity::Activity;

/// The connections of a server.
#[derive(Debug, Default)]
pub(crate) struct Table {
    connections: HashMap<Id, Connected>,
}

#[derive(Debug)]
struct Connected {
    peer: IpAddr,
    activity: Arc<Activity>,
    task: AbortHandle,
}

// === impl Table ===

impl Table {
    pub(crate) fn insert(&mut self, peer: IpAddr, activity: Arc<Activity>, task: AbortHandle) {
        self.connections.insert(task.id(), Connected { peer: network_of(peer), activity, task });
    }

    pub(crate) fn remove(&mut self, task: Id) {
        self.connections.remove(&task);
    }

    /// Makes room for a connection of `peer` if there is none; `false` if nobody can go.
    pub(crate) fn make_room(&mut self, peer: IpAddr, limits: &Limits) -> bool {
        let peer = network_of(peer);
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for connected in self.connections.values() {
            *counts.entry(connected.peer).or_default() += 1;
        }
        if counts.get(&peer).is_some_and(|&count| count >= limits.connections_per_peer.max(1)) {
            return self.end_one(|connected| connected.peer == peer);
        }
        if self.connections.len() < limits.connections {
            return true;
        }
        // Peers by how many connections they have: whoever has the most gives one, if one of them waits.
        let mut most: Vec<(usize, IpAddr)> = counts.into_iter().map(|(peer, count)| (count, peer)).collect();
        most.sort_unstable_by(|a, b| b.cmp(a));
        most.into_iter().any(|(_, greedy)| self.end_one(|connected| connected.peer == greedy))
    }

    /// Ends the connection that has waited longest for its client: its file descriptor is wanted.
    pub(crate) fn end_any(&mut self) {
        self.end_one(|_| true);
    }

    fn end_one(&mut self, of: impl Fn(&Connected) -> bool) -> bool {
        let waiting = self
            .connections
            .iter()
            .filter(|(_, connected)| of(connected))
            .filter_map(|(id, connected)| connected.activity.waits_since().map(|since| (since, *id)));
        let Some((_, longest)) = waiting.min_by_key(|(since, _)| *since) else { return false };
        if let Some(connected) = self.connections.remove(&longest) {
            connected.task.abort();
        }
        true
    }
}

/// What one host is given: its address, or the network of 64 bits of an IPv6 address.
fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address => address,
    }
}
