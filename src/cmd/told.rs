//! How an error is told to a person: in one line, each part once.

use goosefs_core::Error;

/// The contexts and the error. Our own errors have their causes in their message already, so nothing below one is told.
pub(super) fn told(error: &anyhow::Error) -> String {
    let mut parts = Vec::new();
    for cause in error.chain() {
        parts.push(cause.to_string());
        if cause.is::<Error>() {
            break;
        }
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_is_told_once() {
        let cause = std::io::Error::from_raw_os_error(111);
        let ours: Result<(), Error> = Err(Error::io("connect to m:1", cause));
        let error = ours.context("list /").unwrap_err();
        assert_eq!(told(&error), "list /: connect to m:1: Connection refused (os error 111)");
    }
}
