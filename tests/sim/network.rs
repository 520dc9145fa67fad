//! A network of messages: each call to a peer and each answer travels on its own, takes its time, may be lost, come
//! after a later one, or, where Raft allows it, come twice.
//!
//! What a call's sender sees of a loss is what TCP would show it: nothing for its patience, then an error.

use crate::kernel;
use bytes::Bytes;
use goosefs_core::raft::Line;
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tonic::body::Body;
use tower::Service;
use tower::util::BoxCloneSyncService;

/// Calls that may be handled twice.
const TWICE: &[&str] = &["/Append", "/Vote", "/PreVote"];

/// How the network is at the moment. Times in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    pub(crate) delay: (u64, u64),
    /// Of one message in this many the delay is `late`.
    pub(crate) late_one_in: u32,
    pub(crate) late: (u64, u64),
    pub(crate) loss: f64,
    pub(crate) twice: f64,
}

impl Weather {
    pub(crate) fn calm() -> Weather {
        Weather { delay: (1, 4), late_one_in: 10_000, late: (10, 30), loss: 0.0, twice: 0.0 }
    }
}

enum What {
    Call { request: http::Request<Bytes>, answer: Option<oneshot::Sender<Answer>> },
    Answer { answer: Answer, to: oneshot::Sender<Answer> },
}

type Answer = Result<http::Response<Body>, tonic::Status>;

pub(crate) struct Message {
    from: usize,
    to: usize,
    what: What,
}

struct Inner {
    dice: StdRng,
    weather: Weather,
    /// No message goes from the first to the second.
    cut: Vec<Vec<bool>>,
    /// Milliseconds since the start.
    now: u64,
    next: u64,
    under_way: BTreeMap<(u64, u64), Message>,
    /// What was sent, for the trace.
    sent: Vec<String>,
}

/// The network of one simulation. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Network {
    inner: Arc<Mutex<Inner>>,
}

impl Network {
    pub(crate) fn new(masters: usize, dice: StdRng) -> Network {
        Network {
            inner: Arc::new(Mutex::new(Inner {
                dice,
                weather: Weather::calm(),
                cut: vec![vec![false; masters]; masters],
                now: 0,
                next: 0,
                under_way: BTreeMap::new(),
                sent: Vec::new(),
            })),
        }
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.inner.lock().weather = weather;
    }

    /// Lets no message go from `from` to `to`, or lets them go again.
    pub(crate) fn cut(&self, from: usize, to: usize, cut: bool) {
        self.inner.lock().cut[from][to] = cut;
    }

    pub(crate) fn mend(&self) {
        self.inner.lock().cut.iter_mut().flatten().for_each(|cut| *cut = false);
    }

    /// What was sent since the last call.
    pub(crate) fn sent(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().sent)
    }

    /// The messages that have arrived by `now`.
    pub(crate) fn arrived(&self, now: u64) -> Vec<Message> {
        let mut inner = self.inner.lock();
        inner.now = now;
        let later = inner.under_way.split_off(&(now + 1, 0));
        let arrived = std::mem::replace(&mut inner.under_way, later);
        arrived.into_values().filter(|message| !inner.cut[message.from][message.to]).collect()
    }

    fn send(&self, message: Message) {
        // A process that has crashed says nothing any more, even if it does not know yet.
        if kernel::disk(|disk| disk.is_dead(message.from)) {
            return;
        }
        let mut inner = self.inner.lock();
        let what = match &message.what {
            What::Call { request, .. } => format!("{} {}", request.uri().path(), request.body().len()),
            What::Answer { answer, .. } => format!("answer {}", answer.is_ok()),
        };
        let Inner { dice, weather, .. } = &mut *inner;
        if dice.random_bool(weather.loss) || inner.cut[message.from][message.to] {
            let line = format!("{} to {}: {what}, lost", message.from, message.to);
            inner.sent.push(line);
            return;
        }
        let twice = match &message.what {
            What::Call { request, .. } if TWICE.iter().any(|call| request.uri().path().ends_with(call)) => {
                let chance = inner.weather.twice;
                inner.dice.random_bool(chance).then(|| Message {
                    from: message.from,
                    to: message.to,
                    what: What::Call { request: request.clone(), answer: None },
                })
            }
            _ => None,
        };
        for message in std::iter::once(message).chain(twice) {
            let Inner { dice, weather, now, next, .. } = &mut *inner;
            let late = dice.random_ratio(1, weather.late_one_in);
            let (least, most) = if late { weather.late } else { weather.delay };
            let at = (*now + dice.random_range(least..=most), *next);
            *next += 1;
            let line = format!("{} to {}: {what}, there at {}", message.from, message.to, at.0);
            inner.sent.push(line);
            inner.under_way.insert(at, message);
        }
    }

    /// The way of master `from` to master `to`.
    pub(crate) fn line(&self, from: usize, to: usize, patience: Duration) -> Line {
        let network = self.clone();
        BoxCloneSyncService::new(tower::service_fn(move |request: http::Request<Body>| {
            let network = network.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let (answer, wait) = oneshot::channel();
                let request = http::Request::from_parts(head, body);
                network.send(Message { from, to, what: What::Call { request, answer: Some(answer) } });
                // Appends and snapshots may take longer than a connection takes to break.
                match tokio::time::timeout(patience * 8, wait).await {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(_)) => {
                        tokio::time::sleep(patience).await;
                        Err(tonic::Status::unavailable("the connection broke"))
                    }
                    Err(_) => Err(tonic::Status::unavailable("the connection broke")),
                }
            }
        }))
    }
}

impl Message {
    pub(crate) fn to(&self) -> usize {
        self.to
    }

    /// Hands the message to its receiver: an answer to the one who waits, a call to `line`, on `runtime`. Where there is no
    /// line, nobody listens.
    pub(crate) fn deliver(self, network: &Network, receiver: Option<(&tokio::runtime::Handle, Line)>) {
        match (self.what, receiver) {
            // Who asked may have gone.
            (What::Answer { answer, to }, _) => drop(to.send(answer)),
            (What::Call { answer: Some(to), .. }, None) => {
                let answer = Err(tonic::Status::unavailable("connection refused"));
                network.send(Message { from: self.to, to: self.from, what: What::Answer { answer, to } });
            }
            (What::Call { answer: None, .. }, None) => {}
            (What::Call { request, answer }, Some((runtime, mut line))) => {
                let network = network.clone();
                runtime.spawn(async move {
                    let request = request.map(|body| Body::new(Full::new(body)));
                    let response = match line.call(request).await {
                        Ok(response) => whole(response).await,
                        Err(status) => Err(status),
                    };
                    let Some(to) = answer else { return };
                    network.send(Message {
                        from: self.to,
                        to: self.from,
                        what: What::Answer { answer: response, to },
                    });
                });
            }
        }
    }
}

/// The response once all of it is there.
async fn whole(response: http::Response<Body>) -> Answer {
    let (head, body) = response.into_parts();
    Ok(http::Response::from_parts(head, Body::new(body.collect().await?)))
}
