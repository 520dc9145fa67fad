//! Tests of the namespace. Each file has one subject; `bed` is the ground they stand on, `model` the reference.

mod bed;
mod chaos;
mod files;
mod images;
mod intents;
mod loading;
mod model;
mod mounts;
mod preloads;
mod retries;
mod size;
