//! `mounts.json`: the storages of a Dataset with all their settings, those of Secrets too.

use crate::crd::{Dataset, Mount};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Values of Secrets: by Secret, then by key.
pub(crate) type Secrets = BTreeMap<String, BTreeMap<String, String>>;

/// The file, and what keeps it from being as the Dataset says. Holds keys and passwords, so it is never shown.
#[derive(Clone, PartialEq, Default)]
pub(crate) struct Mounts {
    /// Which version of the file it is, from 1.
    pub(crate) generation: i64,
    mounts: Vec<Value>,
    /// What Secrets do not have, by mount.
    pub(crate) missing: Vec<String>,
}

/// Without the settings.
impl std::fmt::Debug for Mounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} mounts, generation {}, missing {:?}", self.mounts.len(), self.generation, self.missing)
    }
}

impl Mounts {
    /// What there shall be after the file `before`, one generation later unless it is the same. A mount whose Secret is
    /// missing stays as it was, and keeps no other one waiting.
    pub(crate) fn new(dataset: &Dataset, secrets: &Secrets, before: Option<&Value>) -> Mounts {
        let mut all = Mounts::default();
        let old = before.and_then(|file| file["mounts"].as_array());
        for mount in &dataset.spec.mounts {
            match entry(dataset, mount, secrets) {
                Ok(entry) => all.mounts.push(entry),
                Err(missing) => {
                    all.missing.push(missing);
                    let same =
                        |one: &&Value| one["path"] == *mount.shown_at() && one["uri"] == *mount.mount_point;
                    all.mounts.extend(old.and_then(|old| old.iter().find(same)).cloned());
                }
            }
        }
        let generation = before.map(|file| file["generation"].as_i64().unwrap_or_default());
        let changed = old != Some(&all.mounts);
        all.generation = generation.unwrap_or_default() + i64::from(changed);
        all
    }

    /// The file's text.
    pub(crate) fn text(&self) -> String {
        json!({"generation": self.generation, "mounts": self.mounts}).to_string()
    }
}

/// A mount as the file has it, or what its Secrets do not have.
fn entry(dataset: &Dataset, mount: &Mount, secrets: &Secrets) -> Result<Value, String> {
    let spec = &dataset.spec;
    let mut options = spec.shared_options.clone();
    options.extend(mount.options.clone());
    for option in spec.shared_encrypt_options.iter().chain(&mount.encrypt_options) {
        let reference = &option.value_from.secret_key_ref;
        let key = reference.key.as_deref().unwrap_or(&option.name);
        let refuse = |why: &str| {
            let path = mount.shown_at();
            Err(format!("mount {path}: Secret {} {why} (for the option {})", reference.name, option.name))
        };
        let Some(secret) = secrets.get(&reference.name) else {
            return refuse("is not there: create it in the namespace of the Dataset");
        };
        match secret.get(key) {
            Some(value) => options.insert(option.name.clone(), value.clone()),
            None => return refuse(&format!("has no text as its key {key}")),
        };
    }
    Ok(json!({
        "path": mount.shown_at(),
        "uri": mount.mount_point,
        "readOnly": mount.read_only.unwrap_or(false),
        "shared": mount.shared.unwrap_or(false),
        "options": options,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One mount with a key of a Secret, and one without.
    fn dataset() -> Dataset {
        let spec = json!({"metadata": {"name": "d"}, "spec": {"mounts": [
            {"mountPoint": "cosn://a/", "name": "a", "options": {"x": "1"},
             "encryptOptions": [{"name": "fs.cosn.userinfo.secretKey", "valueFrom": {"secretKeyRef": {"name": "cos", "key": "k"}}}]},
            {"mountPoint": "https://b/", "name": "b"},
        ]}});
        serde_json::from_value(spec).unwrap()
    }

    fn secrets(key: &str, value: &str) -> Secrets {
        BTreeMap::from([("cos".to_owned(), BTreeMap::from([(key.to_owned(), value.to_owned())]))])
    }

    fn file(mounts: &Mounts) -> Value {
        serde_json::from_str(&mounts.text()).unwrap()
    }

    #[test]
    fn options_of_one_mount_stay_there_and_are_not_shown() {
        let mounts = Mounts::new(&dataset(), &secrets("k", "geheim"), None);
        let expected = json!({"generation": 1, "mounts": [
            {"path": "/a", "uri": "cosn://a/", "readOnly": false, "shared": false,
             "options": {"x": "1", "fs.cosn.userinfo.secretKey": "geheim"}},
            {"path": "/b", "uri": "https://b/", "readOnly": false, "shared": false, "options": {}}]});
        assert_eq!((file(&mounts), &mounts.missing[..]), (expected, &[][..]));
        assert!(!format!("{mounts:?}").contains("geheim"), "{mounts:?}");
    }

    #[test]
    fn a_key_that_changes_is_another_generation_and_the_same_one_is_not() {
        let first = file(&Mounts::new(&dataset(), &secrets("k", "one"), None));
        assert_eq!(Mounts::new(&dataset(), &secrets("k", "one"), Some(&first)).generation, 1);
        assert_eq!(Mounts::new(&dataset(), &secrets("k", "two"), Some(&first)).generation, 2);
    }

    #[test]
    fn a_secret_or_key_that_is_missing_is_named_and_keeps_no_other_mount_waiting() {
        for (there, why) in [
            (Secrets::new(), "mount /a: Secret cos is not there: create it"),
            (secrets("other", "geheim"), "mount /a: Secret cos has no text as its key k"),
        ] {
            let mounts = Mounts::new(&dataset(), &there, None);
            let [missing] = &mounts.missing[..] else { panic!("{mounts:?}") };
            assert!(missing.starts_with(why) && missing.contains("fs.cosn.userinfo.secretKey"), "{missing}");
            let file = file(&mounts);
            assert_eq!(file["mounts"].as_array().map(Vec::len), Some(1));
            assert_eq!(file["mounts"][0]["path"], "/b");
        }
    }

    #[test]
    fn a_mount_stays_as_it_was_while_its_secret_is_missing_unless_it_is_of_another_storage() {
        let mut dataset = dataset();
        let before = file(&Mounts::new(&dataset, &secrets("k", "geheim"), None));
        let kept = Mounts::new(&dataset, &Secrets::new(), Some(&before));
        assert_eq!((file(&kept), kept.missing.len()), (before.clone(), 1));
        dataset.spec.mounts[0].mount_point = "cosn://c/".to_owned();
        let other = Mounts::new(&dataset, &Secrets::new(), Some(&before));
        assert_eq!((other.generation, file(&other)["mounts"].as_array().map(Vec::len)), (2, Some(1)));
    }
}
