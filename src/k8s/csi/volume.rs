//! What a request says about a volume, checked. No I/O but on the folder that a place lies in.

use super::wire::csi::VolumeCapability;
use super::wire::csi::volume_capability::AccessType;
use super::wire::csi::volume_capability::access_mode::Mode;
use goosefs_core::mountinfo::FSTYPE;
use goosefs_core::{Code, Error, Result};
use nix::mount::MsFlags;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use tonic::metadata::MetadataMap;

/// kubelet's own patience, for callers that do not say theirs.
const PATIENCE: Duration = Duration::from_secs(120);

/// An answer must be under way before the caller's patience ends.
const MARGIN: Duration = Duration::from_millis(500);

/// A runtime's mount, as the attributes of a PersistentVolume name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Volume {
    /// Where FUSE mounts it on the node.
    pub(super) path: PathBuf,
    /// Its type in mountinfo.
    pub(super) fstype: String,
    /// `namespace/name` of the runtime, for people.
    pub(super) runtime: String,
}

fn invalid(text: String) -> Error {
    Error::new(Code::InvalidArgument, text)
}

/// `value`, unless it is empty.
///
/// # Errors
/// `InvalidArgument` that names the field.
pub(super) fn required<'a>(field: &str, value: &'a str) -> Result<&'a str> {
    if value.is_empty() { Err(invalid(format!("{field} is missing"))) } else { Ok(value) }
}

impl Volume {
    /// The volume with these attributes; it must lie below `root`.
    ///
    /// # Errors
    /// `InvalidArgument` that names the attribute.
    pub(super) fn of(attributes: &HashMap<String, String>, root: &Path) -> Result<Volume> {
        let attribute = |name: &str| attributes.get(name).map_or("", String::as_str);
        for name in ["fluid_sub_path", "node_publish_method"] {
            if !attribute(name).is_empty() {
                return Err(invalid(format!("volume attribute {name} is not served by this driver")));
            }
        }
        let path = PathBuf::from(required("volume attribute fluid_path", attribute("fluid_path"))?);
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !plain || path == root || !path.starts_with(root) {
            let text = format!(
                "volume attribute fluid_path: {} is not a path below {}",
                path.display(),
                root.display()
            );
            return Err(invalid(text).hint("it is where the FUSE pod mounts the runtime, without .."));
        }
        let fstype = match attribute("mount_type") {
            "" => FSTYPE,
            told => told,
        };
        let runtime = format!("{}/{}", attribute("runtime_namespace"), attribute("runtime_name"));
        Ok(Volume { path, fstype: fstype.to_owned(), runtime })
    }
}

/// How a pod uses a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Usage {
    /// No writes, whatever else is asked for.
    pub(super) read_only: bool,
    /// Further flags of the bind mount.
    pub(super) flags: MsFlags,
}

impl Usage {
    /// What a request asks for.
    ///
    /// # Errors
    /// `InvalidArgument` when it asks for a block device, says nothing, or has an unknown mount option.
    pub(super) fn of(capability: Option<&VolumeCapability>, read_only: bool) -> Result<Usage> {
        let capability = capability.ok_or_else(|| invalid("volume_capability is missing".to_owned()))?;
        let mount = match &capability.access_type {
            Some(AccessType::Mount(mount)) => mount,
            Some(AccessType::Block(_)) => {
                return Err(invalid("a volume of this driver is a directory, not a block device".to_owned()));
            }
            None => return Err(invalid("volume_capability.access_type is missing".to_owned())),
        };
        let mode = capability.access_mode.map_or(Mode::Unknown, |mode| mode.mode());
        if mode == Mode::Unknown {
            return Err(invalid("volume_capability.access_mode is missing".to_owned()));
        }
        let by_mode = matches!(mode, Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly);
        let mut usage = Usage { read_only: read_only || by_mode, flags: MsFlags::empty() };
        for option in mount.mount_flags.iter().flat_map(|option| option.split(',')) {
            match flag(option) {
                Some(flag) => usage.flags |= flag,
                None if option == "ro" => usage.read_only = true,
                None if option == "rw" => {}
                None => {
                    return Err(invalid(format!("mount option \"{option}\" is not one of a bind mount"))
                        .hint("take it out of the volume's mountOptions; ro, rw, noexec, nosuid, nodev, noatime and nodiratime are allowed"));
                }
            }
        }
        Ok(usage)
    }
}

/// The flag of a mount option that a single mount can have.
pub(super) fn flag(option: &str) -> Option<MsFlags> {
    Some(match option {
        "noexec" => MsFlags::MS_NOEXEC,
        "nosuid" => MsFlags::MS_NOSUID,
        "nodev" => MsFlags::MS_NODEV,
        "noatime" => MsFlags::MS_NOATIME,
        "nodiratime" => MsFlags::MS_NODIRATIME,
        "relatime" => MsFlags::MS_RELATIME,
        _ => return None,
    })
}

/// A place without symlinks, so that mountinfo names it alike; the place itself is not looked at. None when the folder
/// that it would lie in is not there.
///
/// # Errors
/// `InvalidArgument` when it is no absolute path, else the I/O error of the folder.
pub(super) fn place(field: &str, path: &str) -> Result<Option<PathBuf>> {
    let path = Path::new(path);
    let (Some(parent), Some(name), true) = (path.parent(), path.file_name(), path.is_absolute()) else {
        return Err(invalid(format!("{field}: {} is not the absolute path of a folder", path.display())));
    };
    match parent.canonicalize() {
        Ok(parent) => Ok(Some(parent.join(name))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(format!("{field} {}", path.display()), error)),
    }
}

/// How long a caller waits for its answer, less what the answer takes.
pub(super) fn patience(metadata: &MetadataMap) -> Duration {
    let told = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(timeout);
    let told = told.unwrap_or(PATIENCE);
    told.saturating_sub(MARGIN.min(told / 10))
}

/// gRPC's way to write a time: up to eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.checked_mul(3600)?),
        "M" => Duration::from_secs(number.checked_mul(60)?),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csi::wire::csi::volume_capability::{AccessMode, BlockVolume, MountVolume};

    fn volume(path: &str) -> Result<Volume> {
        let attributes = HashMap::from([
            ("fluid_path".to_owned(), path.to_owned()),
            ("runtime_namespace".to_owned(), "default".to_owned()),
            ("runtime_name".to_owned(), "hbase".to_owned()),
        ]);
        Volume::of(&attributes, Path::new("/runtime-mnt"))
    }

    #[test]
    fn a_volume_lies_below_the_root() {
        let path = "/runtime-mnt/goosefs/default/hbase/goosefs-fuse";
        let found = volume(path).unwrap();
        assert_eq!((found.path.to_str(), found.runtime.as_str()), (Some(path), "default/hbase"));
        for path in [
            "",
            "/",
            "/etc",
            "/runtime-mnt",
            "/runtime-mnt/",
            "/runtime-mnt2/a",
            "runtime-mnt/a",
            "/runtime-mnt/../etc",
            "/runtime-mnt/a/../../etc",
        ] {
            let error = volume(path).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument, "{path}");
            assert!(error.message.contains("fluid_path"), "{error}");
        }
    }

    #[test]
    fn what_is_not_served_is_refused_not_ignored() {
        let attributes = HashMap::from([
            ("fluid_path".to_owned(), "/runtime-mnt/a".to_owned()),
            ("fluid_sub_path".to_owned(), "b".to_owned()),
        ]);
        let error = Volume::of(&attributes, Path::new("/runtime-mnt")).unwrap_err();
        assert!(error.message.contains("fluid_sub_path"), "{error}");
    }

    fn usage(mode: Mode, options: &[&str]) -> Result<Usage> {
        let mount_flags = options.iter().map(|option| (*option).to_owned()).collect();
        let capability = VolumeCapability {
            access_mode: Some(AccessMode { mode: mode.into() }),
            access_type: Some(AccessType::Mount(MountVolume { mount_flags, ..Default::default() })),
        };
        Usage::of(Some(&capability), false)
    }

    #[test]
    fn reading_only_is_asked_for_in_three_ways() {
        assert!(!usage(Mode::MultiNodeMultiWriter, &[]).unwrap().read_only);
        assert!(usage(Mode::MultiNodeReaderOnly, &[]).unwrap().read_only);
        let both = usage(Mode::SingleNodeWriter, &["ro,noexec"]).unwrap();
        assert_eq!(both, Usage { read_only: true, flags: MsFlags::MS_NOEXEC });
        assert_eq!(usage(Mode::SingleNodeWriter, &["uid=3"]).unwrap_err().code, Code::InvalidArgument);
        assert_eq!(usage(Mode::Unknown, &[]).unwrap_err().code, Code::InvalidArgument);
    }

    #[test]
    fn a_block_device_is_refused() {
        let capability = VolumeCapability {
            access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
            access_type: Some(AccessType::Block(BlockVolume {})),
        };
        assert_eq!(Usage::of(Some(&capability), false).unwrap_err().code, Code::InvalidArgument);
    }

    #[test]
    fn the_callers_patience_is_kept() {
        let mut metadata = MetadataMap::new();
        assert_eq!(patience(&metadata), Duration::from_millis(119_500));
        metadata.insert("grpc-timeout", "1000m".parse().unwrap());
        assert_eq!(patience(&metadata), Duration::from_millis(900));
        metadata.insert("grpc-timeout", "x".parse().unwrap());
        assert_eq!(patience(&metadata), Duration::from_millis(119_500));
    }
}
