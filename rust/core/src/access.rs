//! Who besides the owner may see a registry. Modes are set after creation, whatever the umask.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    #[default]
    Private,
    Group,
    Public,
}

impl Access {
    pub fn folder_mode(self) -> u32 {
        match self {
            Self::Private => 0o700,
            Self::Group => 0o2770,
            Self::Public => 0o755,
        }
    }

    pub fn file_mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Group => 0o660,
            Self::Public => 0o644,
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "private" => Some(Self::Private),
            "group" => Some(Self::Group),
            "public" => Some(Self::Public),
            _ => None,
        }
    }
}
