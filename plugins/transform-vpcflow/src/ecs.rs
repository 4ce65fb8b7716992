//! `names = "ecs"`: the Elastic Common Schema, as Filebeat's `parse_aws_vpc_flow_log` and Elastic's AWS integration map
//! it, with what they leave out (`source.nat.ip`, every protocol's name) and without the `-` they leave in.

use std::net::IpAddr;

use flowstone_core::event::{Batch, BitSet, Column, Path};

use crate::candidates::Candidates;
use crate::derive::{Fields, Words};
use crate::names::{snake, times};
use crate::parse::Cells;

/// Fields that ECS has under one or more names of its own, their values unchanged.
const COPIED: &[(&str, &[&str])] = &[
    ("account-id", &["cloud.account.id"]),
    ("srcaddr", &["source.address"]),
    ("dstaddr", &["destination.address"]),
    ("srcport", &["source.port"]),
    ("dstport", &["destination.port"]),
    ("packets", &["source.packets", "network.packets"]),
    ("bytes", &["source.bytes", "network.bytes"]),
    ("instance-id", &["cloud.instance.id"]),
    ("region", &["cloud.region"]),
    ("az-id", &["cloud.availability_zone"]),
    ("flow-direction", &["network.direction"]),
    ("ecs-cluster-arn", &["orchestrator.cluster.id"]),
    ("ecs-cluster-name", &["orchestrator.cluster.name"]),
    ("ecs-container-instance-arn", &["orchestrator.resource.name"]),
    ("ecs-container-instance-id", &["orchestrator.resource.id"]),
    ("ecs-container-id", &["container.id"]),
    ("ecs-service-name", &["service.name"]),
    ("reject-reason", &["event.reason"]),
];

/// Fields of which only what is derived from them goes into the document.
const REPLACED: &[&str] = &["protocol", "start", "end", "action"];

/// How the columns of some [`Candidates`] become ECS fields, worked out once.
#[derive(Debug)]
pub(crate) struct Ecs {
    /// For each field, the paths that get its values unchanged.
    copied: Vec<Vec<Path>>,
    derived: Derived,
    from: Inputs,
}

macro_rules! derived {
    ($($field:ident = $path:literal),+ $(,)?) => {
        /// The paths of the fields that are not copies.
        #[derive(Debug)]
        struct Derived { $($field: Path,)+ }

        impl Derived {
            fn new() -> Self {
                Self { $($field: ecs_path($path),)+ }
            }

            fn all(&self) -> Vec<&Path> {
                vec![$(&self.$field,)+]
            }
        }
    };
}

derived! {
    provider = "cloud.provider",
    kind = "event.kind",
    category = "event.category",
    event_type = "event.type",
    action = "event.action",
    outcome = "event.outcome",
    start = "event.start",
    end = "event.end",
    source_ip = "source.ip",
    source_nat = "source.nat.ip",
    destination_ip = "destination.ip",
    destination_nat = "destination.nat.ip",
    network_type = "network.type",
    iana_number = "network.iana_number",
    transport = "network.transport",
    community_id = "network.community_id",
    orchestrator_type = "orchestrator.type",
    resource_type = "orchestrator.resource.type",
    flags = "aws.vpcflow.tcp_flags_array",
    related = "related.ip",
}

macro_rules! inputs {
    ($($field:ident = $name:literal),+ $(,)?) => {
        /// Which columns the derived fields are made from.
        #[derive(Debug)]
        struct Inputs { $($field: Option<usize>,)+ }

        impl Inputs {
            fn of(candidates: &Candidates) -> Self {
                Self { $($field: candidates.field($name),)+ }
            }
        }
    };
}

inputs! {
    source = "srcaddr",
    destination = "dstaddr",
    packet_source = "pkt-srcaddr",
    packet_destination = "pkt-dstaddr",
    source_port = "srcport",
    destination_port = "dstport",
    protocol = "protocol",
    start = "start",
    end = "end",
    action = "action",
    flags = "tcp-flags",
    cluster_name = "ecs-cluster-name",
    container_instance = "ecs-container-instance-arn",
}

// === impl Ecs ===

impl Ecs {
    pub(crate) fn new(candidates: &Candidates) -> Self {
        let paths_of = |name: &str| match COPIED.iter().find(|(copied, _)| *copied == name) {
            Some((_, paths)) => paths.iter().map(|path| ecs_path(path)).collect(),
            None if REPLACED.contains(&name) => Vec::new(),
            None => vec![Path::new(["aws", "vpcflow", &snake(name)])],
        };
        Self {
            copied: candidates.fields().iter().map(|field| paths_of(&field.name)).collect(),
            derived: Derived::new(),
            from: Inputs::of(candidates),
        }
    }

    /// Every path that may be written to.
    pub(crate) fn paths(&self) -> Vec<&Path> {
        self.copied.iter().flatten().chain(self.derived.all()).collect()
    }

    /// The columns of the rows in `parsed`.
    pub(crate) fn columns(
        &self,
        cells: Vec<Cells>,
        parsed: &BitSet,
        batch: &mut Batch,
    ) -> Vec<(Path, Column)> {
        let (from, to) = (&self.from, &self.derived);
        let fields = Fields { cells: &cells, parsed, words: Words::put_into(batch) };
        let mut columns: Vec<(Path, Column)> = Vec::with_capacity(to.all().len() + cells.len() + 2);
        let mut put = |path: &Path, column: Column| {
            if !matches!(column, Column::Absent) {
                columns.push((path.clone(), column));
            }
        };
        put(&to.provider, fields.words_where("aws", |_| true));
        put(&to.kind, fields.words_where("event", |_| true));
        put(&to.category, fields.lists(batch, &[&["network"]], |_| Some(0)));
        put(&to.start, fields.integers(from.start).map_or(Column::Absent, times));
        put(&to.end, fields.integers(from.end).map_or(Column::Absent, times));

        let verdict = |row| fields.text(batch, from.action, row);
        put(
            &to.outcome,
            fields.words(["success", "failure"], |row| match verdict(row)? {
                "ACCEPT" => Some(0),
                "REJECT" => Some(1),
                _ => None,
            }),
        );
        let types: [&[&str]; 3] = [&["connection", "allowed"], &["connection", "denied"], &["connection"]];
        let type_of = fields.rows().map(|row| match verdict(row) {
            Some("ACCEPT") => 0,
            Some("REJECT") => 1,
            _ => 2,
        });
        let type_of: Vec<usize> = type_of.collect();
        put(&to.event_type, fields.lists(batch, &types, |row| Some(type_of[row])));
        put(&to.action, fields.lower_case(batch, from.action));

        let source = fields.addresses(batch, from.source);
        let destination = fields.addresses(batch, from.destination);
        let packet_source = fields.addresses(batch, from.packet_source);
        let packet_destination = fields.addresses(batch, from.packet_destination);
        put(&to.source_ip, fields.texts_where(from.source, |row| source[row].is_some()));
        put(&to.destination_ip, fields.texts_where(from.destination, |row| destination[row].is_some()));
        // The packet's own address where a NAT, a transit gateway or a pod network stands between.
        let translated = |packet: &[Option<IpAddr>], flow: &[Option<IpAddr>], row: usize| {
            packet[row].is_some() && packet[row] != flow[row]
        };
        put(
            &to.source_nat,
            fields.texts_where(from.packet_source, |row| translated(&packet_source, &source, row)),
        );
        put(
            &to.destination_nat,
            fields.texts_where(from.packet_destination, |row| {
                translated(&packet_destination, &destination, row)
            }),
        );
        put(
            &to.network_type,
            fields.words(["ipv4", "ipv6"], |row| Some(usize::from(source[row]?.is_ipv6()))),
        );
        put(&to.iana_number, fields.decimals(batch, from.protocol));
        put(&to.transport, fields.protocol_names(from.protocol));
        let ports = [from.source_port, from.destination_port];
        put(&to.community_id, fields.community_ids(batch, from.protocol, [&source, &destination], ports));
        put(&to.flags, fields.flags(batch, from.flags));
        let addresses = [
            (from.source, source.as_slice()),
            (from.destination, &destination),
            (from.packet_source, &packet_source),
            (from.packet_destination, &packet_destination),
        ];
        put(&to.related, fields.related(batch, addresses));
        put(&to.orchestrator_type, fields.words_where("ecs", |row| fields.has(from.cluster_name, row)));
        put(
            &to.resource_type,
            fields.words_where("container", |row| fields.has(from.container_instance, row)),
        );

        for (cells, paths) in cells.into_iter().zip(&self.copied) {
            let Some((last, others)) = paths.split_last() else { continue };
            columns.extend(others.iter().map(|path| (path.clone(), cells.clone().into_column())));
            columns.push((last.clone(), cells.into_column()));
        }
        columns
    }
}

fn ecs_path(dotted: &str) -> Path {
    Path::new(dotted.split('.'))
}
