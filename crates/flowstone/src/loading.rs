//! Loading a configuration as the command line names it, once or (reload) again.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flowstone_config::{ConfigInput, LoadOptions, Loaded};

use crate::logging;
use crate::plugins::STANDARD_PLUGINS;

/// What `-c` and `--data-dir` said.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    inputs: Vec<ConfigInput>,
    options: LoadOptions,
}

// === impl Configuration ===

impl Configuration {
    /// Remembers where the configuration is. Standard input (`-`) is read here, for it can be read only once.
    pub(crate) fn new(paths: &[PathBuf], data_dir: Option<PathBuf>) -> io::Result<Self> {
        let mut inputs = Vec::new();
        let mut stdin_read = false;
        for path in paths {
            if path != Path::new("-") {
                inputs.push(ConfigInput::Path(path.clone()));
            } else if !stdin_read {
                let mut bytes = Vec::new();
                io::stdin().lock().read_to_end(&mut bytes)?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                inputs.push(ConfigInput::Text { name: "<standard input>".to_owned(), text });
                stdin_read = true;
            }
        }
        Ok(Self { inputs, options: LoadOptions { data_dir, standard_plugins: STANDARD_PLUGINS } })
    }

    /// Loads it as it is now.
    pub(crate) fn load(&self) -> Loaded {
        let environment = |name: &str| std::env::var_os(name)?.into_string().ok();
        flowstone_config::load(&self.inputs, &environment, &self.options)
    }

    /// The names as the user gave them.
    pub(crate) fn names(&self) -> String {
        let names = self.inputs.iter().map(|input| match input {
            ConfigInput::Path(path) => path.display().to_string(),
            ConfigInput::Text { name, .. } => name.clone(),
        });
        names.collect::<Vec<_>>().join(", ")
    }
}

/// Says what is to be said about a configuration, on standard error.
pub(crate) fn tell(loaded: &Loaded) {
    use std::io::Write;
    let text = loaded.render(logging::colour());
    io::stderr().lock().write_all(text.as_bytes()).ok();
}
