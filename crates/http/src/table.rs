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

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    struct World {
        table: Table,
        tasks: JoinSet<()>,
        limits: Limits,
    }

    impl World {
        fn new(connections: usize, connections_per_peer: usize) -> Self {
            let limits = Limits { connections, connections_per_peer, ..Limits::default() };
            Self { table: Table::default(), tasks: JoinSet::new(), limits }
        }

        /// A connection, if there is room for it.
        async fn connect(&mut self, peer: &str) -> Option<Arc<Activity>> {
            // Each a moment after the one before.
            tokio::time::sleep(Duration::from_millis(2)).await;
            let peer = peer.parse().unwrap();
            let activity = Activity::new();
            self.table.make_room(peer, &self.limits).then(|| {
                let task = self.tasks.spawn(pending());
                self.table.insert(peer, Arc::clone(&activity), task);
                activity
            })
        }

        fn count(&self, peer: &str) -> usize {
            let peer = network_of(peer.parse().unwrap());
            self.table.connections.values().filter(|connected| connected.peer == peer).count()
        }
    }

    #[tokio::test]
    async fn the_peer_that_has_the_most_makes_room_for_others() {
        let mut world = World::new(6, 4);
        for peer in ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"] {
            assert!(world.connect(peer).await.is_some());
        }
        for (newcomer, counts) in [("192.0.2.4", [3, 1, 1, 1]), ("192.0.2.4", [2, 1, 1, 2])] {
            assert!(world.connect(newcomer).await.is_some());
            let peers = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
            assert_eq!(peers.map(|peer| world.count(peer)), counts);
        }
    }

    #[tokio::test]
    async fn who_waits_for_our_answer_makes_no_room() {
        let mut world = World::new(3, 3);
        let mut working = Vec::new();
        for peer in ["192.0.2.1", "192.0.2.1", "192.0.2.2"] {
            working.push(world.connect(peer).await.unwrap().begin());
        }
        assert!(world.connect("192.0.2.3").await.is_none(), "all are being answered");
        assert!(world.connect("192.0.2.1").await.is_none());
        // The one of the peer with fewer connections is done.
        working.pop();
        assert!(world.connect("192.0.2.3").await.is_some());
        assert_eq!(["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|peer| world.count(peer)), [2, 0, 1]);
    }

    #[tokio::test]
    async fn addresses_that_one_host_has_are_one_peer() {
        let mut world = World::new(10, 2);
        for peer in [
            "2001:db8::1",
            "2001:db8::2",
            "2001:db8::ffff:3",
            "2001:db8:0:1::1",
            "::ffff:192.0.2.1",
            "192.0.2.1",
            "192.0.2.1",
        ] {
            assert!(world.connect(peer).await.is_some());
        }
        assert_eq!(["2001:db8::9", "2001:db8:0:1::9", "192.0.2.1"].map(|peer| world.count(peer)), [2, 1, 2]);
    }
}
