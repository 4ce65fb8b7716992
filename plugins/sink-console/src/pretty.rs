//! A flow as one line of columns: when, who to whom, what, how much, and whether it was let through.

use flowstone_core::event::{Batch, Cell, Civil, RowView, Value, write_json_str, write_json_value};
use flowstone_core::shown::printable;

use crate::escape_json;

/// Writes events for people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pretty {
    /// Whether to use ANSI colours.
    pub(crate) colour: bool,
}

/// Where a flow's parts are, in the three styles of names that `vpcflow` knows.
struct Names {
    source: &'static str,
    source_port: &'static str,
    target: &'static str,
    target_port: &'static str,
    protocol: &'static str,
    packets: &'static str,
    bytes: &'static str,
    action: &'static str,
}

const PLAIN: Names = Names {
    source: "srcaddr",
    source_port: "srcport",
    target: "dstaddr",
    target_port: "dstport",
    protocol: "protocol",
    packets: "packets",
    bytes: "bytes",
    action: "action",
};

const ECS: Names = Names {
    source: "[source][ip]",
    source_port: "[source][port]",
    target: "[destination][ip]",
    target_port: "[destination][port]",
    protocol: "[network][iana_number]",
    packets: "[network][packets]",
    bytes: "[network][bytes]",
    action: "[event][action]",
};

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const PLAIN_AGAIN: &str = "\x1b[0m";

// === impl Pretty ===

impl Pretty {
    /// Appends `row` without a newline at its end.
    pub(crate) fn write(self, batch: &Batch, row: usize, version_field: bool, out: &mut Vec<u8>) {
        let event = batch.row(row);
        for names in [PLAIN, ECS] {
            if let (Some(source), Some(target)) = (event.str(names.source), event.str(names.target)) {
                return self.flow(event, &names, source, target, out);
            }
        }
        let mut document = event.to_value();
        if let Value::Object(fields) = &mut document {
            fields.shift_remove("@metadata");
            if version_field {
                fields.entry("@version".into()).or_insert_with(|| Value::from("1"));
            }
        }
        let start = out.len();
        indent(&document, 0, out);
        escape_json(out, start);
    }

    fn flow(self, event: RowView<'_>, names: &Names, source: &str, target: &str, out: &mut Vec<u8>) {
        if let Some(millis) = event.time("@timestamp") {
            let at = Civil::from_millis(millis);
            let time = format!(
                "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
                at.year, at.month, at.day, at.hour, at.minute, at.second
            );
            self.paint(DIM, &time, out);
            out.extend_from_slice(b"  ");
        }
        let end = |address: &str, port: &str| match event.u64(port) {
            Some(0) | None => address.to_owned(),
            Some(port) if address.contains(':') => format!("[{address}]:{port}"),
            Some(port) => format!("{address}:{port}"),
        };
        let source = end(source, names.source_port);
        out.extend_from_slice(format!("{:>21}", printable(&source)).as_bytes());
        self.place(event, "src_geoip", out);
        out.extend_from_slice(b" -> ");
        let target = end(target, names.target_port);
        let target = format!("{target:<21}");
        self.paint(BOLD, &target, out);
        self.place(event, "dst_geoip", out);
        let protocol = number(event, names.protocol).map(protocol_name).unwrap_or_default();
        out.extend_from_slice(format!("  {protocol:<5}").as_bytes());
        let action = event.str(names.action).unwrap_or_default().to_ascii_uppercase();
        let colour = if action == "ACCEPT" { GREEN } else { RED };
        self.paint(colour, &format!("{action:<6}"), out);
        let packets = number(event, names.packets).unwrap_or(0);
        let bytes = number(event, names.bytes).unwrap_or(0);
        out.extend_from_slice(format!("  {packets:>6} packets {:>9}", human_bytes(bytes)).as_bytes());
        if let Some(interface) = event.str("interface-id").or_else(|| event.str("interface_id")) {
            out.extend_from_slice(b"  ");
            self.paint(DIM, interface, out);
        }
    }

    /// The country of an address, where `geoip` has found one.
    fn place(self, event: RowView<'_>, field: &str, out: &mut Vec<u8>) {
        if let Some(Value::Str(country)) = event.get(&format!("[{field}][country_code2]")) {
            out.push(b' ');
            self.paint(DIM, &country, out);
        }
    }

    fn paint(self, colour: &str, text: &str, out: &mut Vec<u8>) {
        if self.colour {
            out.extend_from_slice(colour.as_bytes());
        }
        out.extend_from_slice(printable(text).as_bytes());
        if self.colour {
            out.extend_from_slice(PLAIN_AGAIN.as_bytes());
        }
    }
}

/// A number that a parser may have left as an integer, a float or a text.
fn number(event: RowView<'_>, field: &str) -> Option<u64> {
    match event.cell(field) {
        Cell::Int(value) => u64::try_from(value).ok(),
        Cell::Float(value) if value >= 0.0 => Some(value as u64),
        Cell::Str(text) => text.parse().ok(),
        _ => None,
    }
}

/// IANA's keyword for the protocols that a flow log shows, else the number.
fn protocol_name(number: u64) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        47 => "gre".to_owned(),
        50 => "esp".to_owned(),
        58 => "icmp6".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}

/// Bytes in decimal units: `4.2 kB`.
fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// JSON with one member a line.
fn indent(value: &Value, depth: usize, out: &mut Vec<u8>) {
    let new_line = |depth: usize, out: &mut Vec<u8>| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push(b'{');
            for (index, (name, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                new_line(depth + 1, out);
                write_json_str(name, out);
                out.extend_from_slice(b": ");
                indent(value, depth + 1, out);
            }
            new_line(depth, out);
            out.push(b'}');
        }
        Value::Array(items)
            if items.iter().any(|item| matches!(item, Value::Object(_) | Value::Array(_))) =>
        {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                new_line(depth + 1, out);
                indent(item, depth + 1, out);
            }
            new_line(depth, out);
            out.push(b']');
        }
        other => write_json_value(other, out),
    }
}

#[cfg(test)]
mod tests {
    use flowstone_core::event::RowId;

    use super::*;

    fn pretty(colour: bool, fields: &[(&str, Value)]) -> String {
        let mut batch = Batch::new(vec![RowId::default()]);
        for (name, value) in fields {
            batch.row_mut(0).set(name, value.clone()).unwrap();
        }
        let mut out = Vec::new();
        Pretty { colour }.write(&batch, 0, false, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn flow() -> Vec<(&'static str, Value)> {
        vec![
            ("@timestamp", Value::Time(1_418_530_010_000)),
            ("interface-id", Value::from("eni-1")),
            ("srcaddr", Value::from("172.31.16.139")),
            ("dstaddr", Value::from("2001:db8::1")),
            ("srcport", Value::Int(20641)),
            ("dstport", Value::Int(22)),
            ("protocol", Value::Int(6)),
            ("packets", Value::Float(20.0)),
            ("bytes", Value::Int(4249)),
            ("action", Value::from("ACCEPT")),
            ("[src_geoip][country_code2]", Value::from("SE")),
        ]
    }

    #[test]
    fn a_flow_is_a_line_of_columns() {
        assert_eq!(
            pretty(false, &flow()),
            "2014-12-14 04:06:50    172.31.16.139:20641 SE -> [2001:db8::1]:22       tcp  ACCEPT      20 packets    4.2 kB  eni-1"
        );
        let coloured = pretty(true, &flow());
        assert!(coloured.contains("\x1b[32mACCEPT\x1b[0m"), "{coloured}");
    }

    #[test]
    fn a_flow_in_ecs_names_is_one_too() {
        let line = pretty(
            false,
            &[
                ("[source][ip]", Value::from("10.0.0.1")),
                ("[destination][ip]", Value::from("10.0.0.2")),
                ("[network][iana_number]", Value::from("1")),
                ("[event][action]", Value::from("reject")),
            ],
        );
        assert_eq!(
            line,
            "             10.0.0.1 -> 10.0.0.2               icmp REJECT       0 packets       0 B"
        );
    }

    #[test]
    fn anything_else_is_indented_json() {
        let fields = [
            ("a", Value::Int(1)),
            ("[b][c]", Value::from(vec!["x", "y"])),
            ("[@metadata][z]", Value::Int(2)),
        ];
        assert_eq!(pretty(false, &fields), "{\n  \"a\": 1,\n  \"b\": {\n    \"c\": [\"x\",\"y\"]\n  }\n}");
    }

    #[test]
    fn bytes_are_rounded_for_people() {
        for (bytes, expect) in
            [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_999, "1.0 MB")]
        {
            assert_eq!(human_bytes(bytes), expect);
        }
    }
}
