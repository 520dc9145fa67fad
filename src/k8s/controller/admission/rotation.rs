//! When certificates follow one another. Pure: [`turn`] looks at what is kept and says what shall be.
//!
//! A new certificate is shown only after the apiserver has had time to hear of its authority, and the old authority is
//! trusted until every replica has had time to show the new one: at no moment does a replica show what is not trusted.
//! Called by [`super::keep`], which has the Secret and the webhook's configuration.

use super::certificate::Pair;
use goosefs_core::Result;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long certificates live and change-overs take.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Name of the server, as the apiserver calls it.
    pub(super) name: String,
    /// How long a certificate holds; a new one is made when a third is left.
    pub(super) life: Duration,
    /// How long the apiserver may take to hear of an authority, and a replica of a certificate.
    pub(super) settle: Duration,
    /// How long the authority before stays trusted.
    pub(super) retire: Duration,
}

impl Rules {
    /// A year, for the server called `name`.
    pub(super) fn new(name: String) -> Rules {
        Rules {
            name,
            life: Duration::from_secs(365 * 24 * 3600),
            settle: Duration::from_secs(10),
            retire: Duration::from_secs(300),
        }
    }
}

/// What the Secret keeps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Kept {
    /// What replicas show.
    pub(super) shown: Option<Pair>,
    /// What they will show.
    pub(super) next: Option<Pair>,
    /// The authority of what they have shown before.
    pub(super) before: Option<String>,
}

/// Keys of the Secret. The first two are those of Kubernetes' own type for certificates.
const SHOWN: [&str; 3] = ["ca.crt", "tls.crt", "tls.key"];
const NEXT: [&str; 3] = ["next-ca.crt", "next.crt", "next.key"];
const BEFORE: &str = "before-ca.crt";

impl Kept {
    /// Reads a Secret's data; what is not whole counts as missing.
    pub(super) fn read(data: &BTreeMap<String, Vec<u8>>) -> Kept {
        let text = |key: &str| String::from_utf8(data.get(key)?.clone()).ok();
        let pair = |[authority, certificate, key]: [&str; 3]| {
            Some(Pair { authority: text(authority)?, certificate: text(certificate)?, key: text(key)? })
        };
        Kept { shown: pair(SHOWN), next: pair(NEXT), before: text(BEFORE) }
    }

    /// The Secret's data.
    pub(super) fn write(&self) -> BTreeMap<String, Vec<u8>> {
        let mut data = BTreeMap::new();
        for (keys, pair) in [(SHOWN, &self.shown), (NEXT, &self.next)] {
            let Some(pair) = pair else { continue };
            for (key, text) in keys.into_iter().zip([&pair.authority, &pair.certificate, &pair.key]) {
                data.insert(key.to_owned(), text.clone().into_bytes());
            }
        }
        data.extend(self.before.iter().map(|text| (BEFORE.to_owned(), text.clone().into_bytes())));
        data
    }

    /// All authorities, for the webhook's configuration; in an order that does not change when certificates change over.
    pub(super) fn bundle(&self) -> String {
        let pairs = [&self.shown, &self.next].into_iter().flatten().map(|pair| pair.authority.as_str());
        let mut all: Vec<&str> = pairs.chain(self.before.as_deref()).collect();
        all.sort_unstable();
        all.dedup();
        all.concat()
    }
}

/// What shall be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// Keep this instead, in which a certificate is new.
    Make(Box<Kept>),
    /// Keep this instead.
    Keep(Box<Kept>),
    /// Nothing; look again after so long.
    Wait(Duration),
}

/// How often it is looked whether a certificate ends soon, in parts of its life.
const LOOKS: u32 = 1000;

/// What follows `kept` at `now` (since 1970), which has been kept and its bundle known to the apiserver for `known`. With
/// `asked` a new certificate is made before the old one ends.
///
/// # Errors
/// When a certificate cannot be made.
pub(super) fn turn(kept: &Kept, asked: bool, known: Duration, now: Duration, rules: &Rules) -> Result<Turn> {
    let new = || Pair::make(&rules.name, now, rules.life);
    let make = |kept: Kept| Ok(Turn::Make(Box::new(kept)));
    let keep = |kept: Kept| Ok(Turn::Keep(Box::new(kept)));
    let Some(shown) = kept.shown.as_ref().filter(|pair| pair.holds(&rules.name, now)) else {
        return make(Kept { shown: Some(new()?), ..Kept::default() });
    };
    if let Some(next) = &kept.next {
        if !next.holds(&rules.name, now) {
            return keep(Kept { next: None, ..kept.clone() });
        }
        if known < rules.settle {
            return Ok(Turn::Wait(rules.settle - known));
        }
        return keep(Kept { shown: Some(next.clone()), next: None, before: Some(shown.authority.clone()) });
    }
    if asked || !shown.holds(&rules.name, now + rules.life / 3) {
        return make(Kept { next: Some(new()?), ..kept.clone() });
    }
    let look = rules.life / LOOKS;
    if kept.before.is_none() {
        return Ok(Turn::Wait(look));
    }
    if known < rules.retire {
        return Ok(Turn::Wait(look.min(rules.retire - known)));
    }
    keep(Kept { before: None, ..kept.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_800_000_000);

    fn rules() -> Rules {
        let seconds = Duration::from_secs;
        Rules {
            name: "webhook.fluid-system.svc".to_owned(),
            life: seconds(3000),
            settle: seconds(10),
            retire: seconds(100),
        }
    }

    /// Plays a keeper from one change to the next for `time`; each state with when it began.
    fn play(mut kept: Kept, time: Duration, mut asked: bool) -> Vec<(Duration, Kept)> {
        let (rules, mut now, mut since) = (rules(), START, START);
        let mut seen = Vec::new();
        while now < START + time {
            match turn(&kept, asked, now - since, now, &rules).unwrap() {
                Turn::Wait(wait) => {
                    assert!(!wait.is_zero(), "a keeper must not spin");
                    now += wait;
                }
                Turn::Make(next) | Turn::Keep(next) => {
                    (kept, since, asked) = (*next, now, false);
                    seen.push((now - START, kept.clone()));
                }
            }
        }
        seen
    }

    #[test]
    fn a_certificate_is_made_at_once_and_followed_at_two_thirds_of_its_life() {
        let seen = play(Kept::default(), Duration::from_secs(2200), false);
        let [(first, made), (begun, both), (changed, after), (ended, alone)] = seen.as_slice() else {
            panic!("four states, not {}", seen.len());
        };
        assert!(first.is_zero());
        let begun_at = begun.as_secs();
        assert!((1998..=2004).contains(&begun_at), "two thirds of 3000 s, not {begun_at}");
        assert_eq!((*changed - *begun).as_secs(), 10);
        assert_eq!((*ended - *changed).as_secs(), 100);
        // What is shown is trusted, before and after each change.
        assert_eq!(both.shown, made.shown);
        assert_eq!(after.shown, both.next);
        assert_eq!(both.bundle(), after.bundle(), "nothing is untrusted by the change-over");
        for kept in [made, both, after, alone] {
            assert!(kept.bundle().contains(&kept.shown.as_ref().unwrap().authority));
        }
        assert!(after.bundle().contains(&made.shown.as_ref().unwrap().authority));
        assert_eq!(alone.bundle(), alone.shown.as_ref().unwrap().authority);
    }

    #[test]
    fn a_new_one_is_made_when_it_is_asked_for() {
        let first = play(Kept::default(), Duration::from_secs(1), false)[0].1.clone();
        let seen = play(first.clone(), Duration::from_secs(300), true);
        assert_eq!(seen.len(), 3);
        assert!(seen[0].0.is_zero() && seen[0].1.next.is_some());
        assert_ne!(seen[2].1.shown, first.shown);
    }

    #[test]
    fn what_does_not_hold_is_replaced_at_once() {
        let good = Pair::make(&rules().name, START, rules().life).unwrap();
        let of_another = Pair::make("other.svc", START, rules().life).unwrap();
        for shown in [of_another.clone(), Pair { key: of_another.key.clone(), ..good.clone() }] {
            let kept = Kept { shown: Some(shown.clone()), ..Kept::default() };
            let (at, after) = play(kept, Duration::from_secs(1), false)[0].clone();
            assert!(at.is_zero() && after.shown != Some(shown) && after.shown.is_some());
        }
        let kept = Kept { shown: Some(good.clone()), next: Some(of_another), before: None };
        let (_, after) = play(kept, Duration::from_secs(1), false)[0].clone();
        assert_eq!(after, Kept { shown: Some(good), ..Kept::default() });
    }

    #[test]
    fn a_secret_keeps_all_of_it() {
        let pair = |_| Pair::make(&rules().name, START, rules().life).unwrap();
        let [shown, next, before] = [0, 1, 2].map(pair);
        let kept = Kept { shown: Some(shown), next: Some(next), before: Some(before.authority) };
        assert_eq!(Kept::read(&kept.write()), kept);
        let mut half = kept.write();
        half.remove("tls.key");
        assert_eq!(Kept::read(&half).shown, None);
        assert_eq!(Kept::read(&BTreeMap::new()), Kept::default());
    }
}
