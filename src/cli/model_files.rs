//! `colearn model join` and `split`: models that lie in several files.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use colearn_learning::Shards;
use colearn_sdk::learner::Weights;
use serde_json::json;

#[derive(Args)]
pub(crate) struct Join {
    /// The index, such as model.safetensors.index.json
    index: PathBuf,
    /// The file to write, which is not there yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Split {
    /// The model's file
    file: PathBuf,
    /// The folder to write, which is not there yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many bytes of tensors are in one file at most
    #[arg(long, value_name = "N", default_value_t = 5_000_000_000)]
    file_bytes: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Writes a file that is not there yet. It has its name when it is whole, and is on the disk then.
pub(crate) fn write_new(
    out: &Path,
    write: impl FnOnce(&mut File) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", out.display());
    let folder = colearn_files::folder_of(out);
    let mut new = tempfile::NamedTempFile::new_in(folder).with_context(cannot)?;
    write(new.as_file_mut())?;
    new.as_file().sync_all().with_context(cannot)?;
    new.persist_noclobber(out).map_err(|error| error.error).with_context(cannot)?;
    Ok(())
}

/// The weights that an index names, joined into a file without a name, where temporary files lie.
pub(crate) fn joined(index: &Path) -> anyhow::Result<Weights> {
    let shards = Shards::open(index)?;
    let mut file = tempfile::tempfile_in(colearn_files::scratch())?;
    shards.join(&mut file)?;
    Ok(Weights::in_file(file)?)
}

impl Join {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let shards = Shards::open(&self.index)?;
        write_new(&self.out, |file| Ok(shards.join(file)?))?;
        let out = self.out.display();
        let weights = Weights::open(&self.out).with_context(|| format!("cannot read {out}"))?;
        match self.json {
            true => println!(
                "{:#}",
                json!({
                    "digest": weights.digest().to_string(),
                    "file": self.out,
                    "files": shards.files(),
                    "size": weights.bytes().len(),
                    "tensors": shards.tensors(),
                })
            ),
            false => println!("{}  {}", weights.digest(), self.out.display()),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Split {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let shards = Shards::open(&self.file)?;
        let cannot = || format!("cannot write {}", self.out.display());
        std::fs::create_dir(&self.out).with_context(cannot)?;
        // The index is written last: a folder without one was interrupted.
        let files = shards.split(&self.out, self.file_bytes).inspect_err(|_| {
            // What cannot be removed is without an index, too.
            let _ = std::fs::remove_dir_all(&self.out);
        })?;
        match self.json {
            true => println!(
                "{:#}",
                json!({ "files": files, "folder": self.out, "tensors": shards.tensors() })
            ),
            false => println!("{files} files in {}", self.out.display()),
        }
        Ok(ExitCode::SUCCESS)
    }
}
