//! `coldproof image`: the blank image.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use coldproof_machines::{
    image::{ImageStore, Recipe},
    paths::Paths,
};
use coldproof_testbed::host::HostDefinition;

use crate::output::{result, say};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coldproof image             build it if its recipe has no image yet, and print where it is
  coldproof image --host coldproof.toml
                              the same, with the packages that this host asks for
  coldproof image --verify    hash every byte of it again
  coldproof image --rebuild   build it anew, whatever is there
  coldproof image --prune     remove images and stages that no run has used for 30 days")]
pub(crate) struct Arguments {
    /// The image with the `packages` of this host definition
    #[arg(long, value_name = "FILE", conflicts_with = "prune")]
    host: Option<PathBuf>,
    /// Build anew even if there is an image
    #[arg(long)]
    rebuild: bool,
    /// Hash every byte again
    #[arg(long, conflicts_with = "rebuild")]
    verify: bool,
    /// Remove images and stages that no run has used for 30 days, and stop
    #[arg(long, conflicts_with_all = ["rebuild", "verify", "json"])]
    prune: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let store = ImageStore::open(&Paths::from_env());
        if self.prune {
            for path in store.prune(ImageStore::UNUSED)? {
                result(format_args!("removed {}", path.display()))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let recipe = self.recipe()?;
        if self.rebuild {
            store.remove(&recipe)?;
        }
        let image = store.ensure(&recipe, &|line| say(line))?;
        if self.verify {
            image.verify_full()?;
        }
        if self.json {
            result(serde_json::to_string_pretty(&image)?)?;
        } else {
            result(format_args!("{}  {}", image.digest, image.dir.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn recipe(&self) -> Result<Recipe> {
        let recipe = coldproof_reference::image_recipe();
        let Some(file) = &self.host else { return Ok(recipe) };
        Ok(HostDefinition::load(file)?.recipe(&recipe))
    }
}
