//! A record as it is decoded: MaxMind's nested schema (`city.names.en`) and the flat one of ip-location-db (`city`,
//! `state1`). Its texts are slices of the data section; nothing is copied.

use crate::data::{Cursor, Damaged};

/// What a record says. Names are the English ones.
#[derive(Debug, Default, PartialEq)]
pub struct Record<'a> {
    /// The city.
    pub city_name: Option<&'a str>,
    /// Two letters.
    pub continent_code: Option<&'a str>,
    /// The continent.
    pub continent_name: Option<&'a str>,
    /// Two letters of ISO 3166-1.
    pub country_code: Option<&'a str>,
    /// The country.
    pub country_name: Option<&'a str>,
    /// The code of the last subdivision, without the country: `WBK`.
    pub region_code: Option<&'a str>,
    /// The last subdivision, which is the most specific.
    pub region_name: Option<&'a str>,
    /// The postal code.
    pub postal_code: Option<&'a str>,
    /// A name of the IANA: `Europe/London`.
    pub timezone: Option<&'a str>,
    /// Degrees.
    pub latitude: Option<f64>,
    /// Degrees.
    pub longitude: Option<f64>,
    /// The metro code.
    pub dma_code: Option<u64>,
    /// The number of the autonomous system.
    pub autonomous_system_number: Option<u64>,
    /// Whose autonomous system it is.
    pub autonomous_system_organization: Option<&'a str>,
    /// The provider.
    pub isp: Option<&'a str>,
    /// The organisation.
    pub organization: Option<&'a str>,
    /// The second-level domain.
    pub domain: Option<&'a str>,
    /// Whether it belongs to any anonymous network.
    pub is_anonymous: bool,
    /// Whether it belongs to an anonymous VPN.
    pub is_anonymous_vpn: bool,
    /// Whether it belongs to a hosting provider.
    pub is_hosting_provider: bool,
    /// Whether it is a public proxy.
    pub is_public_proxy: bool,
    /// Whether it is a residential proxy.
    pub is_residential_proxy: bool,
    /// Whether it is an exit node of Tor.
    pub is_tor_exit_node: bool,
}

/// A continent, a country, a region, a city or a postal area.
#[derive(Default)]
struct Area<'a> {
    code: Option<&'a str>,
    name: Option<&'a str>,
}

/// The continents, countries and regions that were read from one database, by their offsets: a direct-mapped cache.
/// Records point at them, and they are few: with the cache, reading a record takes a third fewer instructions.
#[derive(Debug, Default)]
pub struct AreaCache {
    /// Allocated for the first area.
    slots: Box<[CachedArea]>,
    /// The number of the database.
    database: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct CachedArea {
    /// The area's offset, plus one.
    tag: u32,
    /// Its texts, by offset and length.
    code: Option<(u32, u32)>,
    name: Option<(u32, u32)>,
}

/// 512 areas take 14 KiB.
const CACHE_BITS: u32 = 9;

// === impl AreaCache ===

impl AreaCache {
    /// Empties the cache if it is of another database.
    pub(crate) fn begin(&mut self, database: u32) {
        if self.database != database {
            *self = Self { slots: Box::default(), database };
        }
    }

    /// The next value: from the cache if it is a pointer to an area that is there, or else by `read`.
    fn get<'a>(
        &mut self,
        value: &mut Cursor<'a>,
        read: impl FnOnce(&mut Cursor<'a>) -> Result<Area<'a>, Damaged>,
    ) -> Result<Area<'a>, Damaged> {
        let Some(pointer) = value.pointer() else { return read(value) };
        if self.slots.is_empty() {
            self.slots = vec![CachedArea::default(); 1 << CACHE_BITS].into();
        }
        let slot = &mut self.slots[(pointer.wrapping_mul(0x9e37_79b9) >> (32 - CACHE_BITS)) as usize];
        if slot.tag == pointer.wrapping_add(1) {
            value.skip()?;
            let text = |span: Option<(u32, u32)>| span.and_then(|span| value.text_at(span));
            return Ok(Area { code: text(slot.code), name: text(slot.name) });
        }
        let area = read(value)?;
        let span = |text: Option<&str>| text.map(|text| value.span_of(text));
        *slot = CachedArea { tag: pointer.wrapping_add(1), code: span(area.code), name: span(area.name) };
        Ok(area)
    }
}

// === impl Record ===

impl<'a> Record<'a> {
    /// The record at an offset of the data section.
    pub(crate) fn read(data: &'a [u8], offset: u32, areas: &mut AreaCache) -> Result<Self, Damaged> {
        let mut record = Self::default();
        Cursor::new(data, offset).map(|name, value| record.member(name, value, areas))?;
        Ok(record)
    }

    fn member(&mut self, name: &[u8], value: &mut Cursor<'a>, areas: &mut AreaCache) -> Result<(), Damaged> {
        match name {
            b"city" => {
                let mut area = Area::default();
                value.map_or_text(
                    |name, value| area.member(name, value),
                    |name| self.city_name = Some(name),
                )?;
                self.city_name = self.city_name.or(area.name);
            }
            b"continent" => {
                let area = areas.get(value, Area::read)?;
                (self.continent_code, self.continent_name) = (area.code, area.name);
            }
            b"country" => {
                let area = areas.get(value, Area::read)?;
                (self.country_code, self.country_name) = (area.code, area.name);
            }
            b"subdivisions" => {
                let area = areas.get(value, Area::read_last)?;
                (self.region_code, self.region_name) = (area.code, area.name);
            }
            b"postal" => self.postal_code = Area::read(value)?.code,
            b"location" => value.map(|name, value| self.location(name, value))?,
            b"traits" => value.map(|name, value| self.network_trait(name, value))?,
            // The flat schema.
            b"country_code" => self.country_code = Some(value.text()?),
            b"state1" => self.region_name = Some(value.text()?),
            b"postcode" => self.postal_code = Some(value.text()?),
            b"timezone" => self.timezone = Some(value.text()?),
            b"latitude" | b"longitude" => self.location(name, value)?,
            _ => self.network_trait(name, value)?,
        }
        Ok(())
    }

    fn location(&mut self, name: &[u8], value: &mut Cursor<'a>) -> Result<(), Damaged> {
        match name {
            b"latitude" => self.latitude = value.float()?,
            b"longitude" => self.longitude = value.float()?,
            b"metro_code" => self.dma_code = value.whole()?,
            b"time_zone" => self.timezone = Some(value.text()?),
            _ => value.skip()?,
        }
        Ok(())
    }

    /// A member about the network itself: it stands in the record, or in the record's `traits` (Enterprise).
    fn network_trait(&mut self, name: &[u8], value: &mut Cursor<'a>) -> Result<(), Damaged> {
        match name {
            b"autonomous_system_number" => self.autonomous_system_number = value.whole()?,
            b"autonomous_system_organization" => self.autonomous_system_organization = Some(value.text()?),
            b"isp" => self.isp = Some(value.text()?),
            b"organization" => self.organization = Some(value.text()?),
            b"domain" => self.domain = Some(value.text()?),
            b"is_anonymous" => self.is_anonymous = value.flag()?,
            b"is_anonymous_vpn" => self.is_anonymous_vpn = value.flag()?,
            b"is_hosting_provider" => self.is_hosting_provider = value.flag()?,
            b"is_public_proxy" => self.is_public_proxy = value.flag()?,
            b"is_residential_proxy" => self.is_residential_proxy = value.flag()?,
            b"is_tor_exit_node" => self.is_tor_exit_node = value.flag()?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

// === impl Area ===

impl<'a> Area<'a> {
    fn read(value: &mut Cursor<'a>) -> Result<Self, Damaged> {
        let mut area = Self::default();
        value.map(|name, value| area.member(name, value))?;
        Ok(area)
    }

    /// The last one of a list, which is the most specific.
    fn read_last(value: &mut Cursor<'a>) -> Result<Self, Damaged> {
        let mut last = Self::default();
        value.list(|value| {
            last = Self::read(value)?;
            Ok(())
        })?;
        Ok(last)
    }

    fn member(&mut self, name: &[u8], value: &mut Cursor<'a>) -> Result<(), Damaged> {
        match name {
            b"iso_code" | b"code" => self.code = Some(value.text()?),
            b"names" => value.map(|language, value| match language {
                b"en" => {
                    self.name = Some(value.text()?);
                    Ok(())
                }
                _ => value.skip(),
            })?,
            _ => value.skip()?,
        }
        Ok(())
    }
}
