//! Addresses as text, read and written as Java does it: Logstash hands every text to `InetAddress.getByName` and
//! writes what `getHostAddress` gives back. A host name is no address here: nobody is asked over the network.

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};

/// An address, and the number of the IPv6 zone if its text had one (`fe80::1%3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) ip: IpAddr,
    zone: Option<i32>,
}

/// The usual text of an IPv4 address: four numbers without leading zeros. `None` says nothing: see [`Address::parse`].
///
/// Every row of a flow log has two of them, and a branch on where the dots are mispredicts. So there is no branch on a
/// digit or a dot, and no number wider than 64 bits: 18 ns, and 21 with the sixteen bytes as one number of 128 bits.
#[inline]
pub(crate) fn plain_v4(text: &[u8]) -> Option<u32> {
    let length = text.len();
    // The bytes in two numbers, the first one lowest, and a dot behind them.
    let (mut low, mut high) = match (text.first_chunk(), text.last_chunk()) {
        (Some(first), Some(last)) if length <= 15 => {
            let behind = (u64::from_le_bytes(*last) >> 8) >> (8 * (15 - length));
            (u64::from_le_bytes(*first), behind | u64::from(b'.') << (8 * (length - 8)))
        }
        _ if length == 7 => {
            let bytes = text.iter().rev().fold(u64::from(b'.'), |word, byte| word << 8 | u64::from(*byte));
            (bytes, 0)
        }
        _ => return None,
    };
    let mut dots = dots_of(low) | dots_of(high) << 8;
    let (mut address, mut is_good) = (0, true);
    for _ in 0..4 {
        let digits = dots.trailing_zeros();
        // At their right places among three, the places before them 0.
        let shift = 24u32.wrapping_sub(8 * digits) & 31;
        let places = (0xff_ffff << shift) & 0xff_ffff;
        let values = (((low as u32) << shift) ^ 0x30_3030) & places;
        let octet = (values & 0xff) * 100 + (values >> 8 & 0xff) * 10 + (values >> 16);
        let are_digits = ((values + 0x76_7676) | values) & 0x80_8080 == 0;
        let leads_zero = (low as u8 == b'0') & (digits > 1);
        is_good &= are_digits & (digits.wrapping_sub(1) < 3) & !leads_zero & (octet <= 255);
        address = address << 8 | octet & 0xff;
        let used = (digits + 1) & 7;
        low = low >> (8 * used) | (high << 1) << (63 - 8 * used);
        high >>= 8 * used;
        dots >>= used;
    }
    (is_good & (dots == 0)).then_some(address)
}

/// A bit for each byte that is a dot, the first byte's lowest.
#[inline]
fn dots_of(word: u64) -> u32 {
    const EACH: u64 = u64::MAX / 255;
    // Of other bytes some bit is left, and the highest one is set in what follows.
    let others = word ^ (EACH * u64::from(b'.'));
    let low = EACH * 0x7f;
    let dots = !(((others & low) + low) | others | low);
    // The highest bit of each byte to one of the highest byte: no two of the products meet.
    ((dots >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
}

// === impl Address ===

impl Address {
    /// An IPv4 address.
    pub(crate) fn v4(address: u32) -> Self {
        Self { ip: IpAddr::V4(address.into()), zone: None }
    }

    /// Reads a text: `1.2.3.4`, with leading zeros (decimal all the same) or fewer numbers (`1.2.3` is `1.2.0.3`);
    /// IPv6 with any abbreviation, in brackets or with a numbered zone; an IPv4-mapped address is the IPv4 address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').filter(|inner| !inner.is_empty())?;
            return v6(inner);
        }
        match v4(text) {
            Some(address) => Some(Self::v4(address)),
            None => v6(text),
        }
    }

    /// Appends the text: IPv6 is never abbreviated (`2001:218:0:0:0:0:0:1`).
    pub(crate) fn write(self, out: &mut String) {
        write_ip(self.ip, out);
        if let Some(zone) = self.zone {
            write!(out, "%{zone}").ok();
        }
    }
}

const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];

/// Appends an address as Java writes it.
pub(crate) fn write_ip(ip: IpAddr, out: &mut String) {
    match ip {
        IpAddr::V4(ip) => {
            write!(out, "{ip}").ok();
        }
        IpAddr::V6(ip) => {
            for (number, group) in ip.segments().into_iter().enumerate() {
                if number > 0 {
                    out.push(':');
                }
                // By hand, for every IPv6 address of a flow log comes this way.
                let digits = (group.max(1).ilog2() / 4 + 1) as usize;
                let digit = |place: usize| HEX[usize::from(group >> (4 * place) & 15)];
                out.extend((0..digits).rev().map(digit));
            }
        }
    }
}

/// One to four decimal numbers; the last one fills the bytes that are left.
fn v4(text: &str) -> Option<u32> {
    if text.is_empty() || text.len() > 15 {
        return None;
    }
    let numbers: Vec<&str> = text.split('.').collect();
    let (last, octets) = numbers.split_last()?;
    if octets.len() > 3 {
        return None;
    }
    let number = |text: &str, below: u64| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|number| is_number && *number < below)
    };
    let mut address = 0;
    for octet in octets {
        address = address << 8 | number(octet, 256)?;
    }
    let bits = 8 * (4 - octets.len() as u32);
    u32::try_from(address << bits | number(last, 1 << bits)?).ok()
}

/// Groups of four hexadecimal digits at most in value, one `::`, the last two perhaps as an IPv4 address, and a zone.
fn v6(text: &str) -> Option<Address> {
    let (text, zone) = match text.bytes().position(|byte| byte == b'%') {
        // A zone by name is that of an interface of this machine, which a record's sender does not know.
        Some(at) => {
            let zone = &text[at + 1..];
            let is_number = !zone.is_empty() && zone.bytes().all(|byte| byte.is_ascii_digit());
            (&text[..at], Some(zone.parse::<i32>().ok().filter(|_| is_number)?))
        }
        None => (text, None),
    };
    let (groups, count) = match text.as_bytes().windows(2).position(|pair| pair == b"::") {
        None => groups(text)?,
        Some(at) => {
            let (head, tail) = (&text[..at], &text[at + 2..]);
            let ends_in_v4 = head.contains('.');
            let (head, head_count) = if head.is_empty() { ([0; 8], 0) } else { groups(head)? };
            let (tail, tail_count) = if tail.is_empty() { ([0; 8], 0) } else { groups(tail)? };
            // It stands for one group at least, and the text before it ends in no IPv4 address.
            if head_count + tail_count > 7 || ends_in_v4 {
                return None;
            }
            let mut all = [0; 8];
            all[..head_count].copy_from_slice(&head[..head_count]);
            all[8 - tail_count..].copy_from_slice(&tail[..tail_count]);
            (all, 8)
        }
    };
    if count != 8 {
        return None;
    }
    let ip = Ipv6Addr::from(groups);
    match ip.to_ipv4_mapped() {
        Some(_) if zone.is_some() => None,
        Some(ip) => Some(Address { ip: IpAddr::V4(ip), zone: None }),
        None => Some(Address { ip: IpAddr::V6(ip), zone }),
    }
}

/// Groups with a colon between them, and how many. The last two may be an IPv4 address.
fn groups(text: &str) -> Option<([u16; 8], usize)> {
    let mut groups = [0; 8];
    let mut count = 0;
    let mut rest = text;
    loop {
        let length = rest.bytes().position(|byte| byte == b':').unwrap_or(rest.len());
        match group(&rest.as_bytes()[..length]) {
            Some(group) => *groups.get_mut(count)? = group,
            None => {
                // As usual four numbers, and nothing behind them.
                let dots = rest.bytes().filter(|byte| *byte == b'.').count();
                let address = v4(rest).filter(|_| dots == 3)?;
                groups.get_mut(count..count + 2)?.copy_from_slice(&[(address >> 16) as u16, address as u16]);
                return Some((groups, count + 2));
            }
        }
        count += 1;
        match rest.get(length + 1..) {
            Some(behind) => rest = behind,
            None => return Some((groups, count)),
        }
    }
}

/// Hexadecimal digits, any number of zeros before them.
#[inline]
fn group(digits: &[u8]) -> Option<u16> {
    let mut group = (!digits.is_empty()).then_some(0u32)?;
    for digit in digits {
        group = group << 4 | char::from(*digit).to_digit(16)?;
        if group > 0xffff {
            return None;
        }
    }
    Some(group as u16)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<String> {
        let mut out = String::new();
        Address::parse(text)?.write(&mut out);
        Some(out)
    }

    #[test]
    fn texts_are_read_and_written_as_java_does() {
        for (text, expected) in [
            ("2.125.160.216", Some("2.125.160.216")),
            ("02.125.160.216", Some("2.125.160.216")),
            ("010.8.0.01", Some("10.8.0.1")),
            ("1", Some("0.0.0.1")),
            ("1.2", Some("1.0.0.2")),
            ("1.2.3", Some("1.2.0.3")),
            ("1.2.65535", Some("1.2.255.255")),
            ("16909060", Some("1.2.3.4")),
            ("4294967295", Some("255.255.255.255")),
            ("4294967296", None),
            ("1.2.65536", None),
            ("1.2.3.256", None),
            ("256.1.1.1", None),
            ("1.2.3.4.", None),
            (".1.2.3", None),
            ("1..2.3", None),
            ("1.2.3.4.5", None),
            ("+1.2.3.4", None),
            ("0000000001.2.3.4", None),
            ("2001:218::1", Some("2001:218:0:0:0:0:0:1")),
            ("2001:0218:0000:0000:0000:0000:0000:0001", Some("2001:218:0:0:0:0:0:1")),
            ("2001:00218::ABCD", Some("2001:218:0:0:0:0:0:abcd")),
            ("[2001:218::1]", Some("2001:218:0:0:0:0:0:1")),
            ("[1.2.3.4]", None),
            ("[]", None),
            ("[::1", None),
            ("::", Some("0:0:0:0:0:0:0:0")),
            ("::1", Some("0:0:0:0:0:0:0:1")),
            ("1::", Some("1:0:0:0:0:0:0:0")),
            ("1:2:3:4:5:6:7::", Some("1:2:3:4:5:6:7:0")),
            ("::2:3:4:5:6:7:8", Some("0:2:3:4:5:6:7:8")),
            ("1:2:3:4:5:6:7:8::", None),
            ("1:2:3:4::5:6:7:8", None),
            ("1::2::3", None),
            (":1:2:3:4:5:6:7", None),
            ("1:2:3:4:5:6:7:", None),
            ("1:2:3:4:5:6:7", None),
            ("12345::", None),
            ("g::", None),
            (":", None),
            (":::", None),
            ("::ffff:2.125.160.216", Some("2.125.160.216")),
            ("::ffff:27d:a0d8", Some("2.125.160.216")),
            ("::2.125.160.216", Some("0:0:0:0:0:0:27d:a0d8")),
            ("64:ff9b::1.2.3.4", Some("64:ff9b:0:0:0:0:102:304")),
            ("::ffff:1.2.3", None),
            ("1.2.3.4::", None),
            ("::1.2.3.4:5", None),
            ("fe80::1%3", Some("fe80:0:0:0:0:0:0:1%3")),
            ("fe80::1%eth0", None),
            ("fe80::1%", None),
            ("::ffff:1.2.3.4%1", None),
            ("1.2.3.4%1", None),
            ("", None),
            ("-", None),
            ("N/A", None),
            (" 1.2.3.4", None),
            ("1.2.3.4 ", None),
            ("1.2.3.4:80", None),
            ("1.2.3.4,5.6.7.8", None),
            ("localhost", None),
        ] {
            assert_eq!(read(text).as_deref(), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_the_standard_library_reads_is_read_the_same(groups in any::<[u16; 8]>(), zeros in any::<u8>()) {
            let mut groups = groups;
            groups.iter_mut().enumerate().filter(|(at, _)| zeros >> at & 1 == 1).for_each(|(_, group)| *group = 0);
            let ip = Ipv6Addr::from(groups);
            prop_assert_eq!(Address::parse(&ip.to_string()).map(|address| address.ip), Some(IpAddr::V6(ip).to_canonical()));
            let ip = Ipv4Addr::from(u32::from(groups[0]) << 16 | u32::from(groups[1]));
            prop_assert_eq!(Address::parse(&ip.to_string()).map(|address| address.ip), Some(IpAddr::V4(ip)));
            prop_assert_eq!(plain_v4(ip.to_string().as_bytes()), Some(ip.into()));
        }

        #[test]
        fn a_plain_text_is_what_the_standard_library_takes(text in "[0-9.]{5,17}|([0-9]{1,4}\\.){3}[0-9]{1,4}|.{0,16}|[-/0-9:.\u{ae}]{7,15}", address in any::<u32>(), place in 0usize..15, byte in 0u8..128) {
            prop_assert_eq!(plain_v4(text.as_bytes()), text.parse::<Ipv4Addr>().ok().map(u32::from), "{}", text);
            let mut text = Ipv4Addr::from(address).to_string().into_bytes();
            prop_assert_eq!(plain_v4(&text), Some(address));
            let place = place % text.len();
            text[place] = byte;
            let expected = str::from_utf8(&text).unwrap().parse::<Ipv4Addr>();
            prop_assert_eq!(plain_v4(&text), expected.ok().map(u32::from), "{:?}", text);
        }

        #[test]
        fn a_plain_text_is_its_own_spelling(text in "[0-9.]{5,17}|[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}") {
            if let Some(address) = plain_v4(text.as_bytes()) {
                prop_assert_eq!(read(&text), Some(text.clone()));
                prop_assert_eq!(Address::parse(&text).map(|address| address.ip), Some(IpAddr::V4(address.into())));
            }
        }
    }
}
