//! What `runAs` makes of pods: the number of the user, its name in /etc/passwd and /etc/group, where no image can have it
//! beforehand, and a container of root's that gives it the folders which it must write.

use super::{Given, HOME, pods};
use crate::crd::{GooseFSRuntime, RunAs};
use k8s_openapi::api::core::v1::ResourceRequirements;
use serde_json::{Value, json};

/// Name of the container that gives folders away.
const OWNER: &str = "goosefs-owner";

/// The property that says who a process is.
pub(super) const LOGIN_USER: &str = "goosefs.security.login.username";

/// Arguments: `UID:GID`, folders. What is the user's already is passed over, so only the first start takes its time;
/// `chown` changes a folder after all that is in it, so the next start goes on with what was broken off. Where root may
/// not give anything away (NFS), a folder that everybody may write will do.
const GIVE: &str = r#"owner=$1
shift
for folder in "$@"; do
    [ "$(stat -c %u -- "$folder")" != "${owner%:*}" ] || continue
    chown -Rh -- "$owner" "$folder" && continue
    [ -n "$(find "$folder" -maxdepth 0 -perm -o=wx)" ] || exit 1
done"#;

/// Arguments: `UID:GID`, a folder. What others have made or filled is not ours to give away.
const GIVE_NEW: &str = r#"mkdir -p -- "$2" || exit 1
[ -n "$(find "$2" -maxdepth 0 -empty -user 0 ! -perm /7022)" ] || exit 0
chown -- "$1" "$2""#;

/// What a user who is not root needs; root needs nothing.
fn not_root(user: Option<&RunAs>) -> Option<&RunAs> {
    user.filter(|user| user.uid != 0)
}

/// What the user is called, in whose name all parts of a runtime act; they act in root's when there is none.
pub(super) fn named(runtime: &GooseFSRuntime) -> Option<&str> {
    not_root(runtime.spec.run_as.as_ref()).map(|user| user.user.as_str())
}

/// Who runs the masters, as they call themselves: to that user they refuse nothing.
pub(crate) fn masters_user(runtime: &GooseFSRuntime) -> String {
    let spec = &runtime.spec;
    let own = spec.master.as_ref().and_then(|master| master.properties.get(LOGIN_USER));
    let said = own.or(spec.properties.get(LOGIN_USER));
    said.map(String::as_str).or_else(|| named(runtime)).unwrap_or("root").to_owned()
}

/// The security context of a pod.
pub(super) fn security(user: Option<&RunAs>) -> Value {
    let Some(user) = user else { return Value::Null };
    json!({
        "runAsUser": user.uid, "runAsGroup": user.gid,
        // For volumes whose owner cannot be changed by us, each time without a walk once it is done.
        "fsGroup": user.gid, "fsGroupChangePolicy": "OnRootMismatch",
    })
}

/// Files beside the properties: the users and groups that pods of a runtime know, unless all is root's.
pub(super) fn files(runtime: &GooseFSRuntime) -> Vec<(&'static str, String)> {
    let Some(user) = not_root(runtime.spec.run_as.as_ref()) else { return Vec::new() };
    let (mut passwd, mut group) = (String::new(), String::new());
    for (name, id, of_all, rest) in [
        ("root", 0, "root", "root:/root:/bin/bash"),
        ("nobody", 65534, "nogroup", "nobody:/nonexistent:/usr/sbin/nologin"),
    ] {
        if name != user.user && id != user.uid {
            passwd += &format!("{name}:x:{id}:{id}:{rest}\n");
        }
        if of_all != user.group && id != user.gid {
            group += &format!("{of_all}:x:{id}:\n");
        }
    }
    passwd += &format!("{}:x:{}:{}::{HOME}:/bin/bash\n", user.user, user.uid, user.gid);
    group += &format!("{}:x:{}:\n", user.group, user.gid);
    vec![("passwd", passwd), ("group", group)]
}

/// Where containers have those files, of the configuration's volume.
pub(super) fn file_mounts(runtime: &GooseFSRuntime, volume: &str) -> Vec<Value> {
    let mount = |file: &str| json!({"name": volume, "mountPath": format!("/etc/{file}"), "subPath": file, "readOnly": true});
    files(runtime).iter().map(|(file, _)| mount(file)).collect()
}

/// The container that gives folders, mounted as for the role, to the runtime's user with all that is in them.
pub(super) fn gives(
    given: &Given<'_>,
    mounts: &[Value],
    folders: &[&str],
    resources: Option<&ResourceRequirements>,
) -> Option<Value> {
    let user = not_root(given.runtime.spec.run_as.as_ref())?;
    Some(container(given, user, GIVE, mounts, folders, resources))
}

/// The container that makes a folder, and gives it to a user if nobody else has put anything into it.
pub(super) fn gives_new(
    given: &Given<'_>,
    user: Option<&RunAs>,
    mount: &Value,
    folder: &str,
) -> Option<Value> {
    Some(container(given, not_root(user)?, GIVE_NEW, std::slice::from_ref(mount), &[folder], None))
}

fn container(
    given: &Given<'_>,
    user: &RunAs,
    script: &str,
    mounts: &[Value],
    folders: &[&str],
    resources: Option<&ResourceRequirements>,
) -> Value {
    let (image, policy) = pods::image(given, None);
    let below = |mount: &&Value| {
        let at = mount["mountPath"].as_str().unwrap_or_default();
        folders.iter().any(|folder| std::path::Path::new(folder).starts_with(at))
    };
    let owner = format!("{}:{}", user.uid, user.gid);
    let mut command = vec!["/bin/bash", "-c", script, "owner", &owner];
    command.extend(folders);
    json!({
        "name": OWNER,
        "image": image,
        "imagePullPolicy": policy,
        "command": command,
        "resources": resources,
        "securityContext": {
            "runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": false, "allowPrivilegeEscalation": false,
            // The second for folders of the user's own that others may not search.
            "capabilities": {"drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts.iter().filter(below).collect::<Vec<_>>(),
    })
}
