//! A committed sops file without one of its values, as an operator would have committed it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use coldproof_machines::mark::Mark;

use super::{SopsError, decrypt::Sops, recipients};
use crate::{host::SopsValue, memory_file::MemoryFile};

/// What it takes to change a sops file.
#[derive(Debug)]
pub struct Without<'a> {
    /// The sops program.
    pub sops: PathBuf,
    /// The text of a key file that opens the file.
    pub identity: &'a str,
    /// Whose processes sops' are.
    pub mark: Mark,
    /// A private directory; what is put there is encrypted.
    pub scratch: &'a Path,
}

impl Without<'_> {
    /// The committed file at `place` without its value there: for the same recipients, and authentic.
    ///
    /// # Errors
    /// When sops cannot be run, or cannot take the value out.
    pub async fn value(&self, committed: &[u8], place: &SopsValue) -> Result<Vec<u8>, SopsError> {
        let failed = || SopsError::io(format!("taking {} out of {}", place.key, place.sops_file));
        let key = |source| SopsError::Key { name: "[bootstrap] key".to_owned(), source };
        let identity = recipients::identity_in(self.identity).map_err(key)?;
        let key_file = MemoryFile::new(identity.as_bytes()).map_err(failed())?;
        let dir = tempfile::tempdir_in(self.scratch).map_err(failed())?;
        // sops tells the format by the name.
        let name = Path::new(place.sops_file.as_str()).file_name().unwrap_or_default();
        let file = dir.path().join(name);
        fs::write(&file, committed).map_err(failed())?;
        let sops = Sops { program: &self.sops, key_file: key_file.path(), mark: &self.mark };
        sops.unset(&file, &index(&place.key)).await?.map_err(|words| failed()(io::Error::other(words)))?;
        fs::read(&file).map_err(failed())
    }
}

/// How sops is told a key whose parts are joined by dots.
fn index(key: &str) -> String {
    key.split('.').map(|part| format!("[{}]", serde_json::Value::from(part))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_key_is_quoted() {
        assert_eq!(index("tls.chain \"1\""), r#"["tls"]["chain \"1\""]"#);
    }
}
