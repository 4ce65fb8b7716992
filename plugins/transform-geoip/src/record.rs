//! A database's record as it is decoded: MaxMind's nested schema (`city.names.en`) and the flat one of
//! ip-location-db (`city`, `state1`). Texts are those of the database; nothing is copied.

use crate::data::{Cursor, Damaged};

/// All that is asked of a record. Names are the English ones.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Record<'a> {
    pub(crate) city_name: Option<&'a str>,
    pub(crate) continent_code: Option<&'a str>,
    pub(crate) continent_name: Option<&'a str>,
    pub(crate) country_code: Option<&'a str>,
    pub(crate) country_name: Option<&'a str>,
    pub(crate) region_code: Option<&'a str>,
    pub(crate) region_name: Option<&'a str>,
    pub(crate) postal_code: Option<&'a str>,
    pub(crate) timezone: Option<&'a str>,
    pub(crate) latitude: Option<f64>,
    pub(crate) longitude: Option<f64>,
    pub(crate) dma_code: Option<u64>,
    pub(crate) autonomous_system_number: Option<u64>,
    pub(crate) autonomous_system_organization: Option<&'a str>,
    pub(crate) isp: Option<&'a str>,
    pub(crate) organization: Option<&'a str>,
    pub(crate) domain: Option<&'a str>,
    pub(crate) is_anonymous: bool,
    pub(crate) is_anonymous_vpn: bool,
    pub(crate) is_hosting_provider: bool,
    pub(crate) is_public_proxy: bool,
    pub(crate) is_residential_proxy: bool,
    pub(crate) is_tor_exit_node: bool,
}

/// Something with a code and a name.
#[derive(Default)]
struct Place<'a> {
    code: Option<&'a str>,
    name: Option<&'a str>,
}

/// Countries, continents and regions that were read from one database, by where they lie: records point at them, and
/// they are few. As many as fit, each in the one place where it can be. A record takes a third fewer instructions.
#[derive(Debug, Default)]
pub(crate) struct KnownPlaces {
    /// Made for the first one.
    slots: Box<[KnownPlace]>,
    /// The database's number.
    database: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct KnownPlace {
    /// Where it lies, plus one.
    place: u32,
    /// Its texts, by where they lie in the data.
    code: Option<(u32, u32)>,
    name: Option<(u32, u32)>,
}

/// 512 of them take 14 KiB.
const KNOWN_BITS: u32 = 9;

// === impl KnownPlaces ===

impl KnownPlaces {
    /// This database is read: what is known of another one is forgotten.
    pub(crate) fn begin(&mut self, database: u32) {
        if self.database != database {
            *self = Self { slots: Box::default(), database };
        }
    }

    /// The next value, read by `read` unless it is a pointer to a place that is known.
    fn get<'a>(
        &mut self,
        value: &mut Cursor<'a>,
        read: impl FnOnce(&mut Cursor<'a>) -> Result<Place<'a>, Damaged>,
    ) -> Result<Place<'a>, Damaged> {
        let Some(pointer) = value.pointer() else { return read(value) };
        if self.slots.is_empty() {
            self.slots = vec![KnownPlace::default(); 1 << KNOWN_BITS].into();
        }
        let slot = &mut self.slots[(pointer.wrapping_mul(0x9e37_79b9) >> (32 - KNOWN_BITS)) as usize];
        if slot.place == pointer.wrapping_add(1) {
            value.skip()?;
            let text = |span: Option<(u32, u32)>| span.and_then(|span| value.text_at(span));
            return Ok(Place { code: text(slot.code), name: text(slot.name) });
        }
        let place = read(value)?;
        let span = |text: Option<&str>| text.map(|text| value.span_of(text));
        *slot = KnownPlace { place: pointer.wrapping_add(1), code: span(place.code), name: span(place.name) };
        Ok(place)
    }
}

// === impl Record ===

impl<'a> Record<'a> {
    /// The record at a place of the data section.
    pub(crate) fn read(data: &'a [u8], place: u32, known: &mut KnownPlaces) -> Result<Self, Damaged> {
        let mut record = Self::default();
        Cursor::new(data, place).map(|name, value| record.member(name, value, known))?;
        Ok(record)
    }

    fn member(
        &mut self,
        name: &[u8],
        value: &mut Cursor<'a>,
        known: &mut KnownPlaces,
    ) -> Result<(), Damaged> {
        match name {
            b"city" => {
                let mut place = Place::default();
                value.map_or_text(
                    |name, value| place.member(name, value),
                    |name| self.city_name = Some(name),
                )?;
                self.city_name = self.city_name.or(place.name);
            }
            b"continent" => {
                let place = known.get(value, Place::read)?;
                (self.continent_code, self.continent_name) = (place.code, place.name);
            }
            b"country" => {
                let place = known.get(value, Place::read)?;
                (self.country_code, self.country_name) = (place.code, place.name);
            }
            b"subdivisions" => {
                let place = known.get(value, Place::read_last)?;
                (self.region_code, self.region_name) = (place.code, place.name);
            }
            b"postal" => self.postal_code = Place::read(value)?.code,
            b"location" => value.map(|name, value| self.location(name, value))?,
            b"traits" => value.map(|name, value| self.trait_of_network(name, value))?,
            // The flat schema.
            b"country_code" => self.country_code = Some(value.text()?),
            b"state1" => self.region_name = Some(value.text()?),
            b"postcode" => self.postal_code = Some(value.text()?),
            b"timezone" => self.timezone = Some(value.text()?),
            b"latitude" | b"longitude" => self.location(name, value)?,
            _ => self.trait_of_network(name, value)?,
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

    /// What is known of the network itself: stands in the record, or in its `traits` (Enterprise).
    fn trait_of_network(&mut self, name: &[u8], value: &mut Cursor<'a>) -> Result<(), Damaged> {
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

// === impl Place ===

impl<'a> Place<'a> {
    fn read(value: &mut Cursor<'a>) -> Result<Self, Damaged> {
        let mut place = Self::default();
        value.map(|name, value| place.member(name, value))?;
        Ok(place)
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
