//! The image's entrypoint, run by a real bash: which command it becomes for what pods ask. `goosefs` is a script that
//! prints its arguments, one a line; the image itself boots in `tests/k8s`.

// In the suite's own functions, too, a failure is a failed test.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A folder with a `goosefs` that says what it was asked.
struct Image {
    folder: TempDir,
}

impl Image {
    fn new() -> Image {
        let folder = TempDir::new().unwrap();
        let goosefs = folder.path().join("goosefs");
        fs::write(&goosefs, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").unwrap();
        fs::set_permissions(&goosefs, fs::Permissions::from_mode(0o755)).unwrap();
        Image { folder }
    }

    fn command(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new("bash");
        command.arg(entrypoint()).args(arguments).env_clear();
        command.env("PATH", format!("{}:/usr/bin:/bin", self.folder.path().display()));
        command.env("HOSTNAME", "node-17").envs(variables.iter().copied());
        command
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        self.command(arguments, variables).output().unwrap()
    }

    /// The arguments that `goosefs` got.
    fn becomes(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
        let output = self.run(arguments, variables);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

fn entrypoint() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/entrypoint.sh")
}

#[test]
fn a_master_has_the_number_at_the_end_of_its_pods_name() {
    let image = Image::new();
    let expected = ["master", "--id", "2", "-Dgoosefs.master.rpc.port=26000"];
    let pod = [("POD_NAME", "hbase-master-2")];
    assert_eq!(image.becomes(&["master", "-Dgoosefs.master.rpc.port=26000"], &pod), expected);
    assert_eq!(image.becomes(&["master"], &[("HOSTNAME", "hbase-master-11")]), ["master", "--id", "11"]);
    assert_eq!(image.becomes(&["master", "--id", "5"], &pod), ["master", "--id", "5"]);
    assert_eq!(image.becomes(&["master", "--id=5"], &pod), ["master", "--id=5"]);
}

#[test]
fn fluids_forms_are_taken() {
    let image = Image::new();
    let named = [("GOOSEFS_MASTER_HOSTNAME", "hbase-master-1")];
    assert_eq!(image.becomes(&["master-only", "--no-format"], &named), ["master", "--id", "1"]);
    let alone = [("GOOSEFS_MASTER_HOSTNAME", "10.97.1.4")];
    assert_eq!(image.becomes(&["master-only", "--no-format"], &alone), ["master", "--id", "0"]);
    assert_eq!(image.becomes(&["worker-only", "--no-format"], &[]), ["worker"]);

    let point = image.folder.path().join("runtime-mnt/goosefs-fuse");
    let point = point.to_str().unwrap();
    assert_eq!(
        image.becomes(&["fuse", "--fuse-opts=direct_io,allow_other"], &[("MOUNT_POINT", point)]),
        ["fuse", point, "-Dgoosefs.fuse.allow.other=true"]
    );
}

#[test]
fn fuse_mounts_where_it_is_told_and_makes_the_folder() {
    let image = Image::new();
    let point = image.folder.path().join("a b/mnt");
    let given = point.to_str().unwrap();
    let definition = "-Dgoosefs.fuse.attr.timeout=3s";
    assert_eq!(
        image.becomes(&["fuse", given, definition, "--fuse-opts=attr_timeout=1"], &[("MOUNT_POINT", "/no")]),
        ["fuse", given, "-Dgoosefs.fuse.attr.timeout=1s", definition]
    );
    assert!(point.is_dir());
    // Something is mounted here, so that it is not touched.
    assert_eq!(image.becomes(&["fuse", "/proc"], &[]), ["fuse", "/proc"]);
}

#[test]
fn options_that_are_not_known_are_named() {
    let image = Image::new();
    let point = image.folder.path().join("mnt");
    let output = image.run(&["fuse", point.to_str().unwrap(), "--fuse-opts=colour=red"], &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("mount option colour=red is not known"), "{said}");
}

#[test]
fn everything_else_is_a_command_of_goosefs() {
    let image = Image::new();
    let words = ["fs", "ls", "/a b", ""];
    assert_eq!(image.becomes(&words, &[]), words);
    assert_eq!(image.becomes(&["csi", "register"], &[]), ["csi", "register"]);
}

#[test]
fn what_is_missing_is_said() {
    let image = Image::new();
    for (arguments, part) in
        [(&[][..], "what to run is missing"), (&["fuse"][..], "where to mount is missing")]
    {
        let output = image.run(arguments, &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8(output.stderr).unwrap().contains(part));
    }
}

#[test]
fn containers_of_roles_that_are_gone_stay_until_they_are_told_to_end() {
    let image = Image::new();
    for role in ["job-master", "job-worker", "proxy"] {
        let mut child = image.command(&[role], &[]).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
        assert!(said.contains(&format!("{role} has nothing to do")), "{said}");
        assert_eq!(child.try_wait().unwrap(), None);
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn the_binary_reads_what_fluids_charts_put_into_the_environment() {
    let options = "-Xmx16G -XX:+UseG1GC -Dgoosefs.master.hostname=${POD} -Dgoosefs.master.rpc.port=1 \
                   -Dgoosefs.master.rpc.port=26000";
    for (key, value) in [("goosefs.master.hostname", "hbase-master-0"), ("goosefs.master.rpc.port", "26000")]
    {
        let output = Command::new("bash")
            .arg(entrypoint())
            .args(["getConf", key])
            .env(
                "PATH",
                format!(
                    "{}:/usr/bin:/bin",
                    Path::new(env!("CARGO_BIN_EXE_goosefs")).parent().unwrap().display()
                ),
            )
            .envs([("POD", "hbase-master-0"), ("GOOSEFS_JAVA_OPTS", options)])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), value);
    }
}

/// `charts/extra/cacheruntimeclass.yaml`, by which Fluid runs our image.
fn class() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/extra/cacheruntimeclass.yaml");
    fs::read_to_string(file).unwrap()
}

#[test]
fn containers_of_a_cache_runtime_become_what_fluid_says() {
    assert_eq!(class().matches("command: [/entrypoint.sh, cache-runtime]\n").count(), 3);
    let image = Image::new();
    // Who follows Fluid's file gives up at once.
    let sleep = image.folder.path().join("sleep");
    fs::write(&sleep, "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(&sleep, fs::Permissions::from_mode(0o755)).unwrap();
    let target = image.folder.path().join("target").display().to_string();
    let part = |word| {
        let variables = [
            ("FLUID_RUNTIME_COMPONENT_TYPE", word),
            ("FLUID_RUNTIME_MOUNT_PATH", target.as_str()),
            ("POD_NAME", "demo-master-1"),
            ("POD_IP", "10.0.0.7"),
        ];
        image.becomes(&["cache-runtime"], &variables)
    };
    let configured = ["cache-runtime", "configure"];
    for (word, becomes) in [
        ("master", vec!["master", "--id", "1"]),
        ("worker", vec!["worker", "-Dgoosefs.worker.hostname=10.0.0.7"]),
        ("client", vec!["fuse", target.as_str()]),
    ] {
        assert_eq!(part(word), [configured.to_vec(), becomes].concat(), "{word}");
    }
    let output = image.run(&["cache-runtime"], &[("FLUID_RUNTIME_COMPONENT_TYPE", "gateway")]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("\"gateway\""), "{output:?}");
}

#[test]
fn the_commands_of_the_cache_runtime_class_exist() {
    let text = class().replace(", ", " ");
    let mut seen = 0;
    for command in
        text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| line.split("goosefs ").skip(1))
    {
        let words: Vec<&str> =
            command.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').take(2).collect();
        let output = Command::new(env!("CARGO_BIN_EXE_goosefs")).args(&words).arg("--help").output().unwrap();
        assert!(output.status.success(), "goosefs {words:?}: {output:?}");
        seen += 1;
    }
    assert_eq!(seen, 4, "mounted, summary, configure and a load");
}

#[test]
fn a_cache_runtimes_description_becomes_files() {
    let home = TempDir::new().unwrap();
    let described = home.path().join("config.json");
    let key = home.path().join("key");
    fs::write(&key, "s3cr3t").unwrap();
    let mount = format!(
        r#"{{"mountPoint": "s3://b", "path": "/b", "encryptOptions": {{"secret": "{}"}}}}"#,
        key.display()
    );
    let master = r#"{"name": "demo-master", "replicas": 1, "service": {"name": "svc-demo-master"}}"#;
    fs::write(&described, format!(r#"{{"mounts": [{mount}], "master": {master}}}"#)).unwrap();
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_goosefs"))
            .args(arguments)
            .env("GOOSEFS_HOME", home.path())
            .env("FLUID_RUNTIME_CONFIG_PATH", &described)
            .env("FLUID_RUNTIME_COMPONENT_TYPE", "master")
            .output()
            .unwrap()
    };
    let configured = run(&["cache-runtime", "configure"]);
    assert!(configured.status.success() && configured.stdout.is_empty(), "{configured:?}");
    let found = run(&["getConf", "goosefs.master.rpc.addresses"]);
    assert_eq!(String::from_utf8(found.stdout).unwrap().trim(), "demo-master-0.svc-demo-master:26000");
    let mounts = home.path().join("mounts/mounts.json");
    assert!(fs::read_to_string(&mounts).unwrap().contains("s3cr3t"));
    assert_eq!(fs::metadata(&mounts).unwrap().permissions().mode() & 0o777, 0o600);
}
