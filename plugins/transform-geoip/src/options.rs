//! The options of `geoip`, with Logstash's names and defaults, and how they become a transform.

use std::path::PathBuf;
use std::sync::Arc;

use flowstone_core::event::Path;
use flowstone_core::{BuildCx, BuildError, Transform, choices, nearest, options};

use crate::cache::MOST_DATABASES;
use crate::field::{Field, FieldSet};
use crate::open::{self, Watched};
use crate::render::Layout;
use crate::transform::{Geoip, Settings};

options! {
    /// Options of `geoip`.
    pub(crate) struct GeoipOptions {
        /// The field with the address; of a list its first element counts.
        source: Path,
        /// The database files, one or several, in MaxMind's format (`.mmdb`): City, Country, ASN, ISP, Domain,
        /// Anonymous-IP, Enterprise. What the first ones say stands before what later ones say. A file that is
        /// replaced is read anew within seconds: put the new one in place with a rename. Flowstone brings none along;
        /// free ones are GeoLite2 (maxmind.com, with an account), DB-IP Lite (db-ip.com) and those of
        /// github.com/sapics/ip-location-db.
        database: Vec<PathBuf> = Vec::new(),
        /// The object that is filled. By default `geoip`; with `ecs_compatibility` the object that `source` is the
        /// `ip` of, `[client]` for `[client][ip]`, and required for other sources.
        target: Option<Path> = None,
        /// What is wanted: `ip`, `city_name`, `continent_code`, `continent_name`, `country_code2`, `country_code3`,
        /// `country_name`, `region_name`, `region_code`, `region_iso_code`, `postal_code`, `timezone`, `location`,
        /// `latitude`, `longitude`, `autonomous_system_number`, `autonomous_system_organization`, `dma_code`, `isp`,
        /// `organization`, `network`, `anonymous`, `anonymous_vpn`, `hosting_provider`, `public_proxy`,
        /// `residential_proxy`, `tor_exit_node`, `domain`. By default what is usual for the kind of database.
        fields: Vec<String> = Vec::new(),
        /// Tags of an event whose address was not found. An address that is looked up without success leaves an empty
        /// object as `target`, unless there is something.
        tag_on_failure: Vec<String> = vec!["_geoip_lookup_failure".to_owned()],
        /// How many records of the databases are kept as they are written, some 450 bytes each. Transforms that ask
        /// the same of the same files share them.
        cache_size: usize = 12_000,
        /// The names of the fields: Logstash's own side by side (`country_code2`), or those of the Elastic Common
        /// Schema (`[geo][country_iso_code]`).
        ecs_compatibility: EcsCompatibility = EcsCompatibility::Disabled,
    }
}

choices! {
    /// How fields are named.
    pub(crate) enum EcsCompatibility {
        /// Logstash's own names.
        Disabled = "disabled",
        /// The Elastic Common Schema.
        V1 = "v1",
        /// The same as `v1`.
        V8 = "v8",
    }
}

/// Makes the transform, or says everything that is wrong.
pub(crate) fn build(options: GeoipOptions, cx: &BuildCx) -> Result<Box<dyn Transform>, Vec<BuildError>> {
    let mut errors = Vec::new();
    let layout = match options.ecs_compatibility {
        EcsCompatibility::Disabled => Layout::Legacy,
        EcsCompatibility::V1 | EcsCompatibility::V8 => Layout::Ecs,
    };
    let target = target(&options, layout).map_err(|error| errors.push(error)).ok();
    let fields = fields(&options.fields, &mut errors);
    if options.cache_size == 0 {
        errors.push(
            BuildError::option("cache_size", "there must be room for one record").label("expected 1 or more"),
        );
    }
    let files = files(&options.database, &mut errors);
    let (Some(target), true) = (target, errors.is_empty()) else { return Err(errors) };
    warn_of_silence(fields, &files, cx);
    Ok(Box::new(Geoip::new(Settings::new(
        [options.source, target],
        layout,
        files,
        fields,
        &options.tag_on_failure,
        options.cache_size,
    ))))
}

fn target(options: &GeoipOptions, layout: Layout) -> Result<Path, BuildError> {
    match (&options.target, layout) {
        (Some(target), _) => Ok(target.clone()),
        (None, Layout::Legacy) => Ok(Path::top("geoip")),
        (None, Layout::Ecs) => {
            let is_ip = options.source.names().last().is_some_and(|name| **name == *"ip");
            options.source.parent().filter(|_| is_ip).ok_or_else(|| {
                let source = &options.source;
                BuildError::option(
                    "source",
                    format!("`{source}` is the `ip` of no object that could be filled"),
                )
                .label("expected a field such as `[client][ip]`, or `target`")
                .help("write `target = \"client\"`, or another object")
            })
        }
    }
}

fn fields(names: &[String], errors: &mut Vec<BuildError>) -> Option<FieldSet> {
    let mut fields = FieldSet::of(&[]);
    for (index, name) in names.iter().enumerate() {
        match Field::named(name) {
            Some(field) => fields = fields.or(FieldSet::of(&[field])),
            None => {
                let label = match nearest(name, Field::names()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "expected a field that databases have".to_owned(),
                };
                let all: Vec<&str> = Field::names().collect();
                errors.push(
                    BuildError::option("fields", format!("there is no field `{name}`"))
                        .at_index(index)
                        .label(label)
                        .help(format!("fields are {}", all.join(", "))),
                );
            }
        }
    }
    // An empty list is no wish.
    (!names.is_empty()).then_some(fields)
}

fn files(paths: &[PathBuf], errors: &mut Vec<BuildError>) -> Vec<Arc<Watched>> {
    if paths.is_empty() {
        errors.push(
            BuildError::option("database", "there is no database to look addresses up in")
                .label("expected `database = \"/path/to/City.mmdb\"`")
                .help(WHERE_TO_GET_ONE),
        );
    }
    if paths.len() > MOST_DATABASES {
        errors.push(
            BuildError::option(
                "database",
                format!("{} databases are too many for one transform", paths.len()),
            )
            .at_index(MOST_DATABASES)
            .label(format!("expected {MOST_DATABASES} at most"))
            .help("put the others into a `geoip` of their own with the same `target`"),
        );
        return Vec::new();
    }
    let mut files = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        match open::open(path) {
            Ok(file) => files.push(file),
            Err(error) => {
                let fault = BuildError::option("database", error.message).at_index(index);
                errors.push(match error.is_missing {
                    true => fault.label("there is no such file").help(WHERE_TO_GET_ONE).file_is_missing(),
                    false => fault
                        .label("expected a file in MaxMind's format, whole")
                        .help("get the file again; if it comes packed (.tar.gz), unpack it"),
                });
            }
        }
    }
    files
}

/// What to do without a database.
const WHERE_TO_GET_ONE: &str = "flowstone brings no database along; free ones are GeoLite2-City.mmdb \
    (https://www.maxmind.com, with a free account), DB-IP City Lite (https://db-ip.com/db/lite.php) and those of \
    https://github.com/sapics/ip-location-db; unpack the file and write `database = \"/path/to/GeoLite2-City.mmdb\"`";

/// Says which wishes no database fulfils; Logstash takes them too.
fn warn_of_silence(fields: Option<FieldSet>, files: &[Arc<Watched>], cx: &BuildCx) {
    let said = files.iter().fold(FieldSet::of(&[]), |said, file| said.or(file.current().kind.can_say()));
    for field in fields.unwrap_or(said).without(said).iter() {
        tracing::warn!(component = %cx.id, field = field.legacy(), "no database of this transform says that");
    }
}
