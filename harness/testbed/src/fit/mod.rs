//! Whether a host's configuration fits the machine that is declared around an image of one's own: asked of the evaluated
//! configuration before that image boots, as a boot that fails says little, and only after its deadline.

mod evaluate;
mod misfits;

use coldproof_machines::disk_image::DiskImage;

pub(crate) use evaluate::Evaluation;
use evaluate::Facts;
use misfits::misfits;

/// What the comparison came to.
#[derive(Debug)]
pub(crate) enum Fit {
    /// Nothing of what the configuration says speaks against the machine.
    Fits,
    /// It says nothing of what could be compared.
    Silent,
    /// What does not fit, with the remedies: one a line.
    Misfit(String),
    /// Nothing was compared, and why.
    Unknown(String),
}

/// Compares.
pub(crate) async fn look(evaluation: &Evaluation<'_>, image: &DiskImage) -> Fit {
    match evaluation.facts().await {
        Err(why) => Fit::Unknown(why),
        Ok(facts) if facts == Facts::default() => Fit::Silent,
        Ok(facts) => match misfits(&facts, image) {
            none if none.is_empty() => Fit::Fits,
            misfits => Fit::Misfit(misfits.join("\n")),
        },
    }
}
