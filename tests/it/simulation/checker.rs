//! Holds a finished history against what is promised. It knows the stored records and what was
//! told to whom, and nothing of how the relay works.

use std::collections::{BTreeMap, HashMap, HashSet};

use aws_lc_rs::digest::{SHA256, digest};
use fido_relay::core::ceremony::{Ceremony, Closed, State, Verdict};
use fido_relay_proto::{
    Binding, CeremonyId, DeviceId, NodeId, Outcome, Phase, Reason, Step, UnixMillis, Username,
};

use super::history::Event;
use super::play::Climate;

/// One write of a ceremony.
struct Version {
    life: u32,
    at: UnixMillis,
    bytes: Vec<u8>,
    ceremony: Ceremony,
}

struct Checker<'a> {
    climate: Climate,
    history: &'a [Event],
    user_of: &'a dyn Fn(DeviceId) -> &'static str,
    versions: BTreeMap<CeremonyId, Vec<Version>>,
    /// Session → whose it is and its challenge.
    sessions: HashMap<String, (Username, String)>,
    /// Challenge → the ceremony that stored it.
    challenges: HashMap<String, CeremonyId>,
    broken: Vec<String>,
}

/// What is promised and was not kept, a sentence each.
pub(super) fn check(
    climate: Climate,
    history: &[Event],
    user_of: &dyn Fn(DeviceId) -> &'static str,
) -> Vec<String> {
    let mut checker = Checker {
        climate,
        history,
        user_of,
        versions: BTreeMap::new(),
        sessions: HashMap::new(),
        challenges: HashMap::new(),
        broken: Vec::new(),
    };
    checker.read();
    checker.check_each_life();
    checker.check_upstream();
    checker.check_what_was_told();
    checker.check_prompts();
    checker.broken
}

impl Checker<'_> {
    fn breaks(&mut self, what: String) {
        self.broken.push(what);
    }

    fn last(&self, id: CeremonyId) -> Option<&Ceremony> {
        self.versions.get(&id)?.last().map(|version| &version.ceremony)
    }

    fn end(&self, id: CeremonyId) -> Option<&Closed> {
        self.last(id)?.closed()
    }

    /// The ceremony of a session, and its challenge.
    fn of_session(&self, session: &str) -> Option<(CeremonyId, &str)> {
        let (_, challenge) = self.sessions.get(session)?;
        Some((*self.challenges.get(challenge)?, challenge))
    }

    fn read(&mut self) {
        for event in self.history {
            match event {
                Event::Wrote { life, at, key, record: Some(bytes) } => {
                    let ceremony: Ceremony = serde_json::from_slice(bytes).unwrap();
                    let (id, bytes) = (ceremony.request.id, bytes.clone());
                    assert_eq!(*key, format!("default.{id}"));
                    if let State::Challenged(challenge) = &ceremony.state {
                        let holder = self.challenges.insert(challenge.challenge.clone(), id);
                        if holder.is_some_and(|holder| holder != id) {
                            self.breaks(format!("{id} has the challenge of another"));
                        }
                    }
                    let version = Version { life: *life, at: *at, bytes, ceremony };
                    self.versions.entry(id).or_default().push(version);
                }
                Event::Wrote { key, record: None, .. } => {
                    self.breaks(format!("I6: {key} was removed within its day"));
                }
                Event::Begun { username, session, challenge } => {
                    self.sessions.insert(session.clone(), (username.clone(), challenge.clone()));
                }
                Event::Started { .. }
                | Event::Opened { .. }
                | Event::Read { .. }
                | Event::Asked { .. }
                | Event::Said { .. }
                | Event::Judged { .. }
                | Event::Claiming { .. }
                | Event::Challenged { .. }
                | Event::ToldClosed { .. }
                | Event::Accepted { .. }
                | Event::Healed { .. }
                | Event::Shows { .. }
                | Event::Rested => {}
            }
        }
    }

    /// I1, I10, the deadline, and that a state follows from the one before.
    fn check_each_life(&mut self) {
        let mut broken = Vec::new();
        let rested = self.history.iter().any(|event| matches!(event, Event::Rested));
        // A node's name → the life in which it was first heard.
        let mut nodes: HashMap<NodeId, u32> = HashMap::new();
        for version in self.versions.values().flatten() {
            if let State::Verifying { by, .. } = &version.ceremony.state {
                let life = nodes.entry(*by).or_insert(version.life);
                *life = version.life.min(*life);
            }
        }
        for (id, versions) in &self.versions {
            for pair in versions.windows(2) {
                let [before, after] = pair else { continue };
                if before.ceremony.closed().is_some() && before.bytes != after.bytes {
                    broken.push(format!("I1: {id} was changed after its end"));
                }
                if rank(before.ceremony.phase()) > rank(after.ceremony.phase()) {
                    broken.push(format!("{id} went back from {:?}", before.ceremony.phase()));
                }
                if let (State::Verifying { by, .. }, State::Closed(closed)) =
                    (&before.ceremony.state, &after.ceremony.state)
                    && closed.reason == Some(Reason::Interrupted)
                    && nodes.get(by) == Some(&after.life)
                {
                    broken.push(format!("{id} was taken from the very node that completes it"));
                }
                if self.climate == Climate::Calm
                    && let (State::Preparing { .. }, Some(closed)) =
                        (&before.ceremony.state, after.ceremony.closed())
                    && closed.outcome == Outcome::Expired
                    && closed.at.millis_since(before.at) > 20_000
                {
                    broken.push(format!("{id} waited for a challenge that nobody asked for"));
                }
            }
            for version in versions {
                let request = &version.ceremony.request;
                for entry in version.ceremony.progress() {
                    if entry.step != Step::Closed && entry.at >= request.deadline {
                        broken.push(format!("{id}: {:?} after the deadline", entry.step));
                    }
                }
                if let Some(closed) = version.ceremony.closed()
                    && closed.reason == Some(Reason::Deadline)
                    && closed.at < request.deadline
                {
                    broken.push(format!("{id} expired before its deadline"));
                }
            }
            let last = versions.last().map(|version| &version.ceremony);
            if rested && last.is_some_and(|last| last.closed().is_none()) {
                let phase = last.map(Ceremony::phase);
                broken.push(format!("I10: {id} is {phase:?} after every deadline"));
            }
        }
        self.broken.append(&mut broken);
    }

    /// I2, I3, I4, and that no verdict is lost where nothing was down.
    fn check_upstream(&mut self) {
        let mut broken = Vec::new();
        let mut asked: HashMap<CeremonyId, u32> = HashMap::new();
        let mut approved = HashSet::new();
        let mut judged: HashMap<CeremonyId, Vec<Outcome>> = HashMap::new();
        for event in self.history {
            match event {
                Event::Asked { session, credential, .. } => {
                    let Some((id, challenge)) = self.of_session(session) else {
                        broken.push(format!("{session} was completed and is of no ceremony"));
                        continue;
                    };
                    *asked.entry(id).or_default() += 1;
                    let matches = self.versions.get(&id).into_iter().flatten().any(|version| {
                        matches!(&version.ceremony.state,
                            State::Verifying { challenge: stored, answer, .. }
                                if stored.challenge == challenge
                                    && answer.credential.get() == credential)
                    });
                    if !matches {
                        broken.push(format!("{id}: an answer was completed that is not stored"));
                    }
                }
                Event::Judged { session, verdict } => {
                    let Some((id, _)) = self.of_session(session) else {
                        broken.push(format!("{session} was judged and is of no ceremony"));
                        continue;
                    };
                    judged.entry(id).or_default().push(outcome_of(verdict));
                }
                Event::Said { session, verdict, lost } => {
                    let Some((id, _)) = self.of_session(session) else { continue };
                    if matches!(verdict, Verdict::Approved(_)) {
                        approved.insert(id);
                    }
                    let end = self.end(id).map(|closed| closed.outcome);
                    let expected = if *lost { Outcome::Indeterminate } else { outcome_of(verdict) };
                    let taken_back = [Outcome::Cancelled, Outcome::Denied];
                    if self.climate == Climate::Calm
                        && end.is_some_and(|end| end != expected && !taken_back.contains(&end))
                    {
                        broken.push(format!("{id}: {verdict:?} (lost: {lost}) became {end:?}"));
                    }
                }
                Event::Started { .. }
                | Event::Opened { .. }
                | Event::Read { .. }
                | Event::Wrote { .. }
                | Event::Begun { .. }
                | Event::Claiming { .. }
                | Event::Challenged { .. }
                | Event::ToldClosed { .. }
                | Event::Accepted { .. }
                | Event::Healed { .. }
                | Event::Shows { .. }
                | Event::Rested => {}
            }
        }
        for (id, times) in &asked {
            if *times > 1 {
                broken.push(format!("I2: {id} was completed {times} times"));
            }
        }
        for (id, versions) in &self.versions {
            for version in versions {
                if let State::Verifying { answer, challenge, .. } = &version.ceremony.state {
                    let request = &version.ceremony.request;
                    let stranger = (self.user_of)(answer.device) != request.username.as_str()
                        || request.device_id.is_some_and(|only| only != answer.device)
                        || challenge.device.is_some_and(|holder| holder != answer.device);
                    if stranger {
                        broken.push(format!("I4: {id} took the answer of {}", answer.device));
                    }
                    // One that was taken back meanwhile need not be asked for any more.
                    let taken_back = [Some(Outcome::Cancelled), Some(Outcome::Denied)];
                    let end = self.end(*id).map(|closed| closed.outcome);
                    if self.climate == Climate::Calm
                        && !asked.contains_key(id)
                        && !taken_back.contains(&end)
                    {
                        broken.push(format!("{id}: an answer was taken and never completed"));
                    }
                }
            }
            if let Some(judged) = judged.get(id) {
                if versions.iter().any(|it| it.ceremony.phase() == Phase::Verifying) {
                    broken.push(format!("{id}: an answer was stored without what was found of it"));
                }
                let answered = self.end(*id).filter(|closed| closed.accepted.is_some());
                if answered.is_some_and(|closed| !judged.contains(&closed.outcome)) {
                    broken.push(format!("I3: {id} ended otherwise than its answer was judged"));
                }
            } else if self.end(*id).is_some_and(|closed| closed.outcome == Outcome::Succeeded)
                && !approved.contains(id)
            {
                broken.push(format!("I3: {id} succeeded and nobody approved it"));
            }
        }
        self.broken.append(&mut broken);
    }

    /// I1, I5, I6, I8 as initiators and phones saw them.
    fn check_what_was_told(&mut self) {
        let mut broken = Vec::new();
        let mut opened = HashSet::new();
        let mut claims = HashSet::new();
        for event in self.history {
            match event {
                Event::Opened { ceremony, by, of } => {
                    opened.insert(*ceremony);
                    if by != of {
                        broken.push(format!("I5: {ceremony} was given to a stranger"));
                    }
                }
                Event::Read { ceremony, outcome, found, asked } => {
                    let before = self.history[..*asked].iter();
                    let mut opened = before.filter_map(|event| match event {
                        Event::Opened { ceremony, .. } => Some(ceremony),
                        _ => None,
                    });
                    if !found && opened.any(|id| id == ceremony) {
                        broken.push(format!("I6: {ceremony} was not found"));
                    }
                    self.hold_outcome(*ceremony, *outcome, &mut broken);
                }
                Event::ToldClosed { ceremony, outcome, .. } => {
                    self.hold_outcome(*ceremony, Some(*outcome), &mut broken);
                }
                Event::Claiming { ceremony, device, right: true } => {
                    claims.insert((*ceremony, *device));
                }
                Event::Challenged { ceremony, device, challenge } => {
                    let Some(last) = self.last(*ceremony) else { continue };
                    if last.request.binding == Binding::Code
                        && !claims.contains(&(*ceremony, *device))
                    {
                        broken.push(format!("I8: {device} got the challenge of {ceremony}"));
                    }
                    if (self.user_of)(*device) != last.request.username.as_str() {
                        broken.push(format!("I8: {device} is not of the user of {ceremony}"));
                    }
                    if self.challenges.get(challenge) != Some(ceremony) {
                        broken.push(format!("{ceremony} was shown another's challenge"));
                    }
                }
                Event::Accepted { ceremony, device, attempt, credential } => {
                    let mut hash = [0; 32];
                    hash.copy_from_slice(digest(&SHA256, credential.as_bytes()).as_ref());
                    let accepted = Some((*attempt, *device, hash));
                    if self.end(*ceremony).is_none_or(|closed| closed.accepted != accepted) {
                        broken.push(format!("{ceremony}: an acknowledged answer was forgotten"));
                    }
                }
                Event::Started { .. }
                | Event::Wrote { .. }
                | Event::Begun { .. }
                | Event::Asked { .. }
                | Event::Said { .. }
                | Event::Judged { .. }
                | Event::Claiming { right: false, .. }
                | Event::Healed { .. }
                | Event::Shows { .. }
                | Event::Rested => {}
            }
        }
        for id in &opened {
            if self.last(*id).is_none() {
                broken.push(format!("I6: {id} was acknowledged and is not stored"));
            }
        }
        self.broken.append(&mut broken);
    }

    fn hold_outcome(&self, id: CeremonyId, told: Option<Outcome>, broken: &mut Vec<String>) {
        let stands = self.end(id).map(|closed| closed.outcome);
        if told.is_some() && told != stands {
            broken.push(format!("I1: {id} was told as {told:?} and is {stands:?}"));
        }
    }

    /// Once everything is well, every phone shows what the stored state asks for.
    fn check_prompts(&mut self) {
        let mut broken = Vec::new();
        let mut stored: HashMap<CeremonyId, &Version> = HashMap::new();
        let mut walks: HashMap<CeremonyId, std::slice::Iter<'_, Version>> =
            self.versions.iter().map(|(id, versions)| (*id, versions.iter())).collect();
        let mut life = 0;
        let mut opened = HashSet::new();
        for event in self.history {
            match event {
                Event::Started { life: started } => life = *started,
                Event::Wrote { key, record: Some(_), .. } => {
                    let id = key.trim_start_matches("default.").parse().unwrap();
                    if let Some(version) = walks.get_mut(&id).and_then(Iterator::next) {
                        stored.insert(id, version);
                    }
                }
                Event::Healed { fresh: true } => {
                    for (id, version) in &stored {
                        if matches!(version.ceremony.state, State::Verifying { .. })
                            && version.life != life
                        {
                            broken.push(format!("{id}: a lost completion was not given up"));
                        }
                    }
                }
                Event::Shows { ceremony, device, prompt, at } => {
                    let Some(version) = stored.get(ceremony) else { continue };
                    let settled = at.millis_since(version.at) > 1_500;
                    let only = version.ceremony.request.device_id;
                    // One whose opener was not answered is no promise: it need not be shown.
                    if !settled
                        || !opened.contains(ceremony)
                        || only.is_some_and(|only| only != *device)
                    {
                        continue;
                    }
                    let expected = match &version.ceremony.state {
                        State::Offered { .. } => "offer",
                        State::Challenged(challenge)
                            if challenge.device.is_none_or(|holder| holder == *device) =>
                        {
                            "challenge"
                        }
                        State::Closed(_) if ["offer", "challenge"].contains(prompt) => "the end of",
                        State::Challenged(_)
                        | State::Preparing { .. }
                        | State::Verifying { .. }
                        | State::Closed(_) => continue,
                    };
                    if *prompt != expected {
                        broken.push(format!("{device} shows {prompt} for {expected} {ceremony}"));
                    }
                }
                Event::Opened { ceremony, .. } => {
                    opened.insert(*ceremony);
                }
                Event::Read { .. }
                | Event::Wrote { record: None, .. }
                | Event::Begun { .. }
                | Event::Asked { .. }
                | Event::Said { .. }
                | Event::Judged { .. }
                | Event::Claiming { .. }
                | Event::Challenged { .. }
                | Event::ToldClosed { .. }
                | Event::Accepted { .. }
                | Event::Healed { fresh: false }
                | Event::Rested => {}
            }
        }
        self.broken.append(&mut broken);
    }
}

fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Offered => 0,
        Phase::Preparing => 1,
        Phase::Challenged => 2,
        Phase::Verifying => 3,
        Phase::Closed => 4,
    }
}

fn outcome_of(verdict: &Verdict) -> Outcome {
    match verdict {
        Verdict::Approved(_) => Outcome::Succeeded,
        Verdict::Rejected(_) => Outcome::Rejected,
        Verdict::SessionLost => Outcome::Expired,
        Verdict::Full | Verdict::NotAsked => Outcome::Failed,
        Verdict::Unknown => Outcome::Indeterminate,
    }
}
