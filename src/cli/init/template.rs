//! Learners to begin with: what `colearn learner` does by itself, or a script or program of one's own. These are the
//! examples of this repository, which its tests run.

use clap::ValueEnum;
use colearn_records::plan::quoted;
use colearn_sdk::learner::SAFETENSORS;

const SKLEARN: &str = include_str!("../../../python/examples/own_sklearn.py");
const TORCH: &str = include_str!("../../../python/examples/own_torch.py");
const IMAGES: &str = include_str!("../../../python/examples/own_images.py");
const RUST: &str = include_str!("../../../learning/examples/own_data.rs");
/// A unit for systemd, of a built-in learner.
const UNIT: &str = include_str!("../../../deploy/systemd/colearn-learner@.service");

/// What learns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Template {
    /// A model that comes with the program: no code at all.
    BuiltIn,
    /// A scikit-learn estimator, in Python.
    Sklearn,
    /// A PyTorch module for the columns of a table, in Python.
    Pytorch,
    /// A PyTorch convolutional network for images, in Python.
    Images,
    /// A program of one's own, in Rust.
    Rust,
}

impl Template {
    /// As it is written on the command line.
    pub(super) fn word(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether it learns from the columns of a table, of which all have to know what they mean.
    pub(super) fn is_of_columns(self) -> bool {
        self != Self::Images
    }

    /// What kind of file its models are, and what one is called; `None` if the program makes the first one itself.
    pub(super) fn initial(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::BuiltIn => None,
            Self::Rust => Some(("application/json", "initial.json")),
            Self::Sklearn | Self::Pytorch | Self::Images => {
                Some((SAFETENSORS, "initial.safetensors"))
            }
        }
    }

    /// Its files, with what is in them.
    pub(super) fn files(self, source: Option<&str>) -> Vec<(&'static str, String)> {
        match self {
            Self::BuiltIn => Vec::new(),
            Self::Sklearn => vec![("learner.py", SKLEARN.replace("own_sklearn.py", "learner.py"))],
            Self::Pytorch => vec![("learner.py", TORCH.replace("own_torch.py", "learner.py"))],
            Self::Images => vec![("learner.py", IMAGES.replace("own_images.py", "learner.py"))],
            Self::Rust => vec![
                ("learner/Cargo.toml", manifest(source.unwrap_or("../colearn"))),
                ("learner/src/main.rs", RUST.replace("own_data", "learner")),
            ],
        }
    }

    /// A unit that runs it, with what its settings (`learner-NAME.env`) say.
    pub(super) fn unit(self) -> String {
        let run = match self {
            Self::BuiltIn => return UNIT.to_owned(),
            // The services' user does not see home folders.
            Self::Sklearn | Self::Pytorch | Self::Images => {
                "/opt/colearn/bin/python /opt/colearn/learner.py --node ${NODE} --experiment ${EXPERIMENT} --key \
                 ${STATE_DIRECTORY}/key.pem $OPTIONS"
            }
            Self::Rust => {
                "/opt/colearn/learner $OPTIONS join ${NODE} ${EXPERIMENT} ${STATE_DIRECTORY}/key.pem ${PLAN}"
            }
        };
        let line = |line: &str| {
            match line {
            // What the key remembers lies beside it; and the file is the service's own there.
            line if line.starts_with("ExecStart=") => Some(format!(
                "ExecStartPre=/bin/install -m 0600 ${{CREDENTIALS_DIRECTORY}}/key.pem ${{STATE_DIRECTORY}}/key.pem\n\
                 ExecStart={run}"
            )),
            // NumPy and PyTorch make code while they run.
            line if line.starts_with("MemoryDenyWriteExecute=") && self != Self::Rust => None,
            line if line.starts_with("# NODE, EXPERIMENT, and OPTIONS") => Some(
                "# NODE, EXPERIMENT, and OPTIONS: what else the learner takes, with spaces between."
                    .to_owned(),
            ),
            line => Some(line.to_owned()),
        }
        };
        let mut unit: String = UNIT.lines().filter_map(line).map(|line| line + "\n").collect();
        unit = unit.replace("Documentation=man:colearn-learner(1)\n", "");
        unit
    }
}

/// Of a learner in Rust, against this program's own source.
fn manifest(source: &str) -> String {
    let path = |folder: &str| quoted(&format!("{}/{folder}", source.trim_end_matches('/')));
    let (learning, records, sdk) = (path("learning"), path("records"), path("sdk"));
    format!(
        r#"[package]
name = "learner"
version = "0.1.0"
edition = "2024"

[dependencies]
colearn-learning = {{ path = {learning} }}
colearn-records = {{ path = {records}, features = ["files"] }}
colearn-sdk = {{ path = {sdk} }}
serde_json = "1"
tokio = {{ version = "1", features = ["rt-multi-thread"] }}

# A program of its own, wherever it lies.
[workspace]
"#
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_runs_what_it_is_for_and_is_as_narrow_as_that_of_the_program() {
        for template in [Template::Sklearn, Template::Pytorch, Template::Images, Template::Rust] {
            let unit = template.unit();
            assert!(unit.contains("\nExecStart=/opt/colearn/"), "{unit}");
            assert!(!unit.contains("/usr/local/bin/colearn learner"), "{unit}");
            for kept in ["LoadCredential=key.pem:", "DynamicUser=yes", "SystemCallFilter=~@priv"] {
                assert!(unit.contains(kept), "{kept}: {unit}");
            }
        }
        assert_eq!(Template::BuiltIn.unit(), UNIT);
    }

    #[test]
    fn a_learner_in_rust_knows_where_the_source_is() {
        let files = Template::Rust.files(Some("/src/a \"b\"/"));
        let manifest: toml::Table = files[0].1.parse().unwrap();
        assert_eq!(
            manifest["dependencies"]["colearn-sdk"]["path"].as_str(),
            Some("/src/a \"b\"/sdk")
        );
    }
}
