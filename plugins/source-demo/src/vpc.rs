//! A small VPC: who is in it, and what one record of its flow log says.

use std::fmt::Write;

use fastrand::Rng;
use flowstone_core::event::Digits;

/// The machines of a VPC and the strangers it meets. Two public subnets, one private one, one for the database.
#[derive(Debug)]
pub(crate) struct Vpc {
    seed: u64,
    account: i64,
    web: Vec<Eni>,
    app: Vec<Eni>,
    database: Eni,
    bastion: Eni,
    clients: Vec<[u8; 4]>,
    services: Vec<[u8; 4]>,
    attackers: Vec<[u8; 4]>,
    scanner: [u8; 4],
}

/// An elastic network interface with its primary private addresses.
#[derive(Clone, Debug)]
struct Eni {
    id: u64,
    v4: [u8; 4],
    v6: [u16; 4],
}

/// What a record is about.
struct Flow<'a> {
    eni: &'a Eni,
    source: End,
    target: End,
    protocol: u8,
    packets: u64,
    bytes: u64,
    accepted: bool,
}

#[derive(Clone, Copy)]
struct End {
    address: Address,
    port: u16,
}

#[derive(Clone, Copy)]
enum Address {
    V4([u8; 4]),
    V6([u16; 8]),
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;

/// Every so many records one flow of the port scan, which tries the ports in their order.
const SCAN_EVERY: u64 = 25;

/// First octets of networks that home and mobile users come from, without any reserved one.
const CLIENT_NETWORKS: [u8; 12] = [24, 31, 62, 73, 81, 86, 90, 98, 109, 151, 178, 188];

/// Public resolvers; Amazon's own is not logged.
const RESOLVERS: [[u8; 4]; 3] = [[1, 1, 1, 1], [8, 8, 8, 8], [9, 9, 9, 9]];

// === impl Vpc ===

impl Vpc {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let site = rng.u16(1..);
        let mut eni = |subnet: u8| Eni {
            id: rng.u64(..) >> 8 | 1 << 55,
            v4: [10, 0, subnet, rng.u8(10..250)],
            v6: [0x2600, 0x1f18, site, u16::from(subnet)],
        };
        let web = vec![eni(1), eni(1), eni(2)];
        let app = vec![eni(10), eni(10), eni(11)];
        let (database, bastion) = (eni(20), eni(1));
        let mut public = |network: u8| [network, rng.u8(..), rng.u8(..), rng.u8(1..255)];
        let clients = (0..400).map(|n| public(CLIENT_NETWORKS[n % CLIENT_NETWORKS.len()])).collect();
        let services = (0..30).map(|n| public([3, 18, 52, 54][n % 4])).collect();
        let attackers = (0..6).map(|n| public([45, 61, 141, 185, 193, 218][n])).collect();
        let scanner = public(162);
        let account = rng.u64(100_000_000_000..1_000_000_000_000) as i64;
        Self { seed, account, web, app, database, bastion, clients, services, attackers, scanner }
    }

    /// Appends record `number`, of a flow that was captured from `at` (seconds since the epoch) on.
    pub(crate) fn write_record(&self, number: u64, at: i64, out: &mut String) {
        let mut rng = Rng::with_seed(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let end = at + rng.i64(1..60);
        if number % SCAN_EVERY == SCAN_EVERY - 1 {
            return self.write_flow(&self.scan(number / SCAN_EVERY, &mut rng), at, end, out);
        }
        let flow = match rng.u32(0..1000) {
            0..=24 => return self.write_status("NODATA", at, end, &mut rng, out),
            25..=27 => return self.write_status("SKIPDATA", at, end, &mut rng, out),
            28..=477 => self.web(&mut rng),
            478..=517 => self.web_v6(&mut rng),
            518..=637 => self.inside(&mut rng),
            638..=717 => self.database(&mut rng),
            718..=797 => self.outbound(&mut rng),
            798..=867 => self.dns(&mut rng),
            868..=937 => self.brute_force(&mut rng),
            938..=957 => self.ping(&mut rng),
            _ => self.stranger(&mut rng),
        };
        self.write_flow(&flow, at, end, out);
    }

    /// A browser at a web server: the request's way or the answer's.
    fn web(&self, rng: &mut Rng) -> Flow<'_> {
        let eni = pick(&self.web, rng);
        // A few clients make most of the traffic.
        let share = rng.f64();
        let client = self.clients[(share * share * self.clients.len() as f64) as usize];
        let port = if rng.u8(0..10) == 0 { 80 } else { 443 };
        let packets = 4 + skewed(rng, 400);
        two_ways(eni, v4(client, ephemeral(rng)), v4(eni.v4, port), packets, rng)
    }

    fn web_v6(&self, rng: &mut Rng) -> Flow<'_> {
        let eni = pick(&self.web, rng);
        let client = Address::V6([0x2a02, 0x8108, rng.u16(..), 0, 0, 0, rng.u16(..), rng.u16(1..)]);
        let [a, b, c, d] = eni.v6;
        let server = Address::V6([a, b, c, d, 0, 0, 0, 0x10]);
        let packets = 4 + skewed(rng, 200);
        let (client, server) =
            (End { address: client, port: ephemeral(rng) }, End { address: server, port: 443 });
        two_ways(eni, client, server, packets, rng)
    }

    /// A web server at an application server.
    fn inside(&self, rng: &mut Rng) -> Flow<'_> {
        let (web, app) = (pick(&self.web, rng), pick(&self.app, rng));
        let eni = if rng.bool() { web } else { app };
        let packets = 3 + skewed(rng, 60);
        two_ways(eni, v4(web.v4, ephemeral(rng)), v4(app.v4, 8080), packets, rng)
    }

    fn database(&self, rng: &mut Rng) -> Flow<'_> {
        let app = pick(&self.app, rng);
        let eni = if rng.bool() { app } else { &self.database };
        let packets = 6 + skewed(rng, 900);
        two_ways(eni, v4(app.v4, ephemeral(rng)), v4(self.database.v4, 5432), packets, rng)
    }

    /// An application server at some service on the internet.
    fn outbound(&self, rng: &mut Rng) -> Flow<'_> {
        let eni = pick(&self.app, rng);
        let service = self.services[rng.usize(..self.services.len())];
        let packets = 8 + skewed(rng, 300);
        two_ways(eni, v4(eni.v4, ephemeral(rng)), v4(service, 443), packets, rng)
    }

    fn dns(&self, rng: &mut Rng) -> Flow<'_> {
        let eni = pick(&self.app, rng);
        let resolver = RESOLVERS[rng.usize(..RESOLVERS.len())];
        let packets = 1 + rng.u64(0..3);
        Flow {
            protocol: UDP,
            bytes: packets * rng.u64(56..140),
            ..two_ways(eni, v4(eni.v4, ephemeral(rng)), v4(resolver, 53), packets, rng).outgoing()
        }
    }

    /// Somebody guesses passwords at the bastion, and at machines that do not let them.
    fn brute_force(&self, rng: &mut Rng) -> Flow<'_> {
        let attacker = self.attackers[rng.usize(..self.attackers.len())];
        let at_bastion = rng.u8(0..10) < 7;
        let eni = if at_bastion { &self.bastion } else { pick(&self.web, rng) };
        let packets = if at_bastion { rng.u64(9..24) } else { rng.u64(1..4) };
        let bytes = if at_bastion { packets * rng.u64(80..170) } else { packets * 60 };
        let source = v4(attacker, ephemeral(rng));
        Flow { eni, source, target: v4(eni.v4, 22), protocol: TCP, packets, bytes, accepted: at_bastion }
    }

    /// One machine after the other is asked at every port in turn.
    fn scan(&self, step: u64, rng: &mut Rng) -> Flow<'_> {
        let eni = &self.web[(step / 1024) as usize % self.web.len()];
        let port = 1 + (step % 1024) as u16;
        let open = matches!(port, 80 | 443);
        let source = v4(self.scanner, 40_000 + rng.u16(0..8));
        Flow { eni, source, target: v4(eni.v4, port), protocol: TCP, packets: 1, bytes: 44, accepted: open }
    }

    fn ping(&self, rng: &mut Rng) -> Flow<'_> {
        let eni = pick(&self.web, rng);
        let client = self.clients[rng.usize(..self.clients.len())];
        let packets = rng.u64(1..8);
        let (source, target) = (v4(client, 0), v4(eni.v4, 0));
        Flow { eni, source, target, protocol: ICMP, packets, bytes: packets * 84, accepted: rng.bool() }
    }

    /// The noise that every public address hears.
    fn stranger(&self, rng: &mut Rng) -> Flow<'_> {
        let eni = pick(&self.web, rng);
        let stranger =
            [CLIENT_NETWORKS[rng.usize(..CLIENT_NETWORKS.len())], rng.u8(..), rng.u8(..), rng.u8(1..255)];
        let port = [23, 445, 1433, 3389, 5900, 6379, 8080, 9200, 25, 5060][rng.usize(..10)];
        let protocol = if port == 5060 { UDP } else { TCP };
        let packets = rng.u64(2..5);
        let source = v4(stranger, ephemeral(rng));
        Flow {
            eni,
            source,
            target: v4(eni.v4, port),
            protocol,
            packets,
            bytes: packets * 52,
            accepted: false,
        }
    }

    fn write_flow(&self, flow: &Flow<'_>, start: i64, end: i64, out: &mut String) {
        self.write_head(flow.eni, out);
        write_address(flow.source.address, out);
        out.push(' ');
        write_address(flow.target.address, out);
        for number in [
            i64::from(flow.source.port),
            i64::from(flow.target.port),
            i64::from(flow.protocol),
            flow.packets as i64,
            flow.bytes as i64,
            start,
            end,
        ] {
            out.push(' ');
            out.push_str(Digits::of(number).as_str());
        }
        out.push_str(if flow.accepted { " ACCEPT OK" } else { " REJECT OK" });
    }

    fn write_status(&self, status: &str, start: i64, end: i64, rng: &mut Rng, out: &mut String) {
        let eni = if rng.bool() { pick(&self.app, rng) } else { &self.bastion };
        self.write_head(eni, out);
        out.push_str("- - - - - - - ");
        out.push_str(Digits::of(start).as_str());
        out.push(' ');
        out.push_str(Digits::of(end).as_str());
        out.push_str(" - ");
        out.push_str(status);
    }

    fn write_head(&self, eni: &Eni, out: &mut String) {
        out.push_str("2 ");
        out.push_str(Digits::of(self.account).as_str());
        out.push_str(" eni-");
        for shift in (0..17).rev() {
            let digit = (u128::from(eni.id) << 4 | 0xa) >> (4 * shift) & 15;
            out.push(char::from(b"0123456789abcdef"[digit as usize]));
        }
        out.push(' ');
    }
}

// === impl Flow ===

impl Flow<'_> {
    /// The way from the interface outwards.
    fn outgoing(self) -> Self {
        let from_here = matches!(self.source.address, Address::V4(address) if address == self.eni.v4);
        if from_here { self } else { Self { source: self.target, target: self.source, ..self } }
    }
}

/// One of the two records that a connection makes: what the client sent, or the larger answer.
fn two_ways<'a>(eni: &'a Eni, client: End, server: End, packets: u64, rng: &mut Rng) -> Flow<'a> {
    let answer = rng.bool();
    let (source, target) = if answer { (server, client) } else { (client, server) };
    let bytes = packets * if answer { rng.u64(400..1400) } else { rng.u64(52..300) };
    Flow { eni, source, target, protocol: TCP, packets, bytes, accepted: true }
}

fn pick<'a>(enis: &'a [Eni], rng: &mut Rng) -> &'a Eni {
    &enis[rng.usize(..enis.len())]
}

fn v4(address: [u8; 4], port: u16) -> End {
    End { address: Address::V4(address), port }
}

fn ephemeral(rng: &mut Rng) -> u16 {
    rng.u16(32_768..61_000)
}

/// Mostly small, sometimes up to `most`.
fn skewed(rng: &mut Rng, most: u64) -> u64 {
    let share = rng.f64();
    (share * share * share * most as f64) as u64
}

fn write_address(address: Address, out: &mut String) {
    match address {
        Address::V4(octets) => {
            for (index, octet) in octets.iter().enumerate() {
                if index > 0 {
                    out.push('.');
                }
                out.push_str(Digits::of(i64::from(*octet)).as_str());
            }
        }
        Address::V6(groups) => {
            let text = std::net::Ipv6Addr::from(groups);
            // Writing to a string cannot fail.
            write!(out, "{text}").ok();
        }
    }
}
