//! Databases of addresses: a file is refused, or answers, in bounded time and the same whenever it is asked.

use std::fs;

use flowstone_core::event::Batch;
use flowstone_core::{NodeKind, Transform};
use serde_json::Value;
use transform_geoip as _;

use super::support::{apply, batch_of, document, in_time, table, text, texts, transform};

/// A byte of choices, a line of addresses with blanks between them, and the bytes of a database file.
pub fn mmdb(data: &[u8]) {
    let Some((flags, rest)) = data.split_first() else { return };
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(addresses) = std::str::from_utf8(&rest[..end]) else { return };
    let addresses: Vec<&str> = addresses.split(' ').collect();
    in_time(|| ask(*flags, &addresses, &rest[end + 1..]));
}

fn ask(flags: u8, addresses: &[&str], database: &[u8]) {
    let flag = |bit: u8| flags & 1 << bit != 0;
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), database).expect("room for it");
    let mut options = vec![
        ("source", text("message")),
        ("target", text("geoip")),
        ("database", texts(file.path().to_str())),
        ("ecs_compatibility", text(if flag(0) { "v8" } else { "disabled" })),
        ("cache_size", NodeKind::Integer(if flag(1) { 1 } else { 100 })),
    ];
    if flag(2) {
        let all = [
            "ip",
            "network",
            "location",
            "city_name",
            "autonomous_system_number",
            "region_iso_code",
            "timezone",
        ];
        options.push(("fields", texts(all)));
    }
    let Ok(mut geoip) = transform("geoip", &table(options)) else { return };
    let together = documents(&mut *geoip, addresses);
    assert_eq!(documents(&mut *geoip, addresses), together, "asked again");
    let mut fork = geoip.fork();
    for (address, together) in addresses.iter().zip(together) {
        assert_eq!(documents(&mut *fork, &[address]), [together], "alone and among others: {address}");
    }
}

fn documents(geoip: &mut dyn Transform, addresses: &[&str]) -> Vec<Value> {
    let mut batch: Batch = batch_of(addresses);
    apply(geoip, &mut batch);
    (0..addresses.len()).map(|row| document(&batch, row)).collect()
}
