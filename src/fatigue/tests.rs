//! The rules, each as a short story.

use fido_relay_proto::ClientId;

use super::*;

const NOON: UnixMillis = UnixMillis(1_800_000_000_000);
const MINUTE: u64 = 60_000;

/// A user, and what was asked of them so far.
struct Person {
    standing: Standing,
    policy: Policy,
    now: UnixMillis,
    asked: u16,
}

impl Person {
    fn new() -> Self {
        Self { standing: Standing::default(), policy: Policy::default(), now: NOON, asked: 0 }
    }

    fn waits(&mut self, millis: u64) -> &mut Self {
        self.now = self.now.plus_millis(millis);
        self
    }

    fn ask(&mut self, prior_auth: PriorAuth) -> Ask {
        self.asked += 1;
        Ask {
            ceremony: ceremony(self.asked),
            client: SHOP,
            prior_auth,
            needs_code: true,
            until: self.now.plus_millis(2 * MINUTE),
        }
    }

    fn admit(&mut self, ask: &Ask) -> Admission {
        self.standing.admit(&self.policy, self.now, ask)
    }

    /// Somebody who knows the username asks.
    fn asked(&mut self) -> Admission {
        let ask = self.ask(PriorAuth::None);
        self.admit(&ask)
    }

    /// Somebody who knows the password asks.
    fn asked_with_password(&mut self) -> Admission {
        let ask = self.ask(PriorAuth::Password);
        self.admit(&ask)
    }

    fn ends_for(
        &mut self,
        nth: u16,
        client: ClientId,
        prior_auth: PriorAuth,
        outcome: Outcome,
        reason: Option<Reason>,
    ) {
        let end =
            End { ceremony: ceremony(nth), client, prior_auth, outcome, reason, at: self.now };
        self.standing.ended(&self.policy, &end);
    }

    /// The last one that was asked ends.
    fn ends(&mut self, outcome: Outcome, reason: Option<Reason>) {
        self.ends_for(self.asked, SHOP, PriorAuth::None, outcome, reason);
    }

    fn says_not_me(&mut self, prior_auth: PriorAuth) {
        self.ends_for(self.asked, SHOP, prior_auth, Outcome::Denied, Some(Reason::NotMe));
    }
}

const SHOP: ClientId = ClientId::from_bytes([1; 16]);
const BANK: ClientId = ClientId::from_bytes([2; 16]);
const SHOWN: Admission = Admission::Shown { displaced: None };

fn ceremony(nth: u16) -> CeremonyId {
    CeremonyId::from_bytes(u128::from(nth).to_be_bytes())
}

fn silent(why: Why) -> Admission {
    Admission::Silent(why)
}

#[test]
fn three_prompts_are_free_and_then_the_pauses_grow_to_half_an_hour() {
    let mut person = Person::new();
    person.policy.prompts_per_hour = 100;
    for _ in 0..3 {
        assert_eq!(person.asked(), SHOWN);
        person.ends(Outcome::Cancelled, None);
    }
    for pause in [MINUTE, 5 * MINUTE, 30 * MINUTE, 30 * MINUTE] {
        assert_eq!(person.asked(), silent(Why::Wait));
        person.waits(pause - 1);
        assert_eq!(person.asked(), silent(Why::Wait), "{pause} ms are not over");
        person.waits(1);
        assert_eq!(person.asked(), SHOWN, "{pause} ms are over");
        person.ends(Outcome::Expired, Some(Reason::Deadline));
    }
}

#[test]
fn a_silent_one_does_not_make_the_pause_longer() {
    let mut person = Person::new();
    for _ in 0..3 {
        person.asked();
        person.ends(Outcome::Cancelled, None);
    }
    for _ in 0..50 {
        person.waits(1000);
        assert_eq!(person.asked(), silent(Why::Wait));
    }
    person.waits(10_000);
    assert_eq!(person.asked(), SHOWN, "an attacker cannot push the pause ahead of them");
}

#[test]
fn a_success_makes_prompts_free_again() {
    let mut person = Person::new();
    for _ in 0..3 {
        person.asked();
        person.ends(Outcome::Cancelled, None);
    }
    person.waits(MINUTE);
    assert_eq!(person.asked(), SHOWN);
    person.ends(Outcome::Succeeded, None);
    for _ in 0..3 {
        assert_eq!(person.asked(), SHOWN);
        person.ends(Outcome::Cancelled, None);
    }
    assert_eq!(person.asked(), silent(Why::Wait));
}

#[test]
fn an_hour_has_ten_prompts_whatever_comes_of_them() {
    let mut person = Person::new();
    for _ in 0..10 {
        assert_eq!(person.asked(), SHOWN);
        person.ends(Outcome::Succeeded, None);
        person.waits(1);
    }
    assert_eq!(person.asked(), silent(Why::Hour));
    person.waits(60 * MINUTE);
    assert_eq!(person.asked(), silent(Why::Hour), "they are counted by the minute");
    person.waits(MINUTE - 10);
    assert_eq!(person.asked(), SHOWN);
}

#[test]
fn three_live_at_a_time_and_a_place_is_free_when_one_ends_or_expires() {
    let mut person = Person::new();
    person.policy.free_prompts = 100;
    for _ in 0..3 {
        assert_eq!(person.asked(), SHOWN);
    }
    assert_eq!(person.asked(), silent(Why::Live));
    person.ends_for(2, SHOP, PriorAuth::None, Outcome::Cancelled, None);
    assert_eq!(person.asked(), SHOWN);
    assert_eq!(person.asked(), silent(Why::Live));
    person.waits(2 * MINUTE);
    assert_eq!(person.asked(), SHOWN, "nobody has to tell of an expiry");
}

#[test]
fn who_knows_the_password_takes_the_place_of_who_knows_the_name() {
    let mut person = Person::new();
    assert_eq!(person.asked(), SHOWN);
    let first = ceremony(person.asked);
    assert_eq!(person.asked(), SHOWN);
    let second = ceremony(person.asked);
    assert_eq!(person.asked_with_password(), Admission::Shown { displaced: Some(first) });
    assert_eq!(person.asked_with_password(), Admission::Shown { displaced: Some(second) });
    assert_eq!(person.asked_with_password(), SHOWN, "nobody is left to displace");
    person.policy.free_prompts = 100;
    assert_eq!(person.asked_with_password(), silent(Why::Live), "and never one of their own kind");
    assert_eq!(person.asked(), silent(Why::Live));
}

#[test]
fn a_flood_by_the_name_alone_costs_who_knows_the_password_nothing() {
    let mut person = Person::new();
    for _ in 0..500 {
        person.asked();
        person.waits(MINUTE / 2);
    }
    person.says_not_me(PriorAuth::None);
    assert_eq!(person.asked(), silent(Why::Muted));
    for _ in 0..3 {
        assert!(matches!(person.asked_with_password(), Admission::Shown { .. }));
        person.ends(Outcome::Succeeded, None);
    }
}

#[test]
fn not_me_mutes_everybody_of_that_kind_for_twenty_minutes() {
    let mut person = Person::new();
    person.asked();
    person.says_not_me(PriorAuth::None);
    let mut ask = person.ask(PriorAuth::None);
    ask.client = BANK;
    assert_eq!(person.admit(&ask), silent(Why::Muted), "other initiators too");
    person.waits(20 * MINUTE - 1);
    assert_eq!(person.asked(), silent(Why::Muted));
    person.waits(1);
    assert_eq!(person.asked(), SHOWN);
}

#[test]
fn not_me_to_somebody_with_the_password_mutes_everybody() {
    let mut person = Person::new();
    person.asked_with_password();
    person.says_not_me(PriorAuth::Password);
    assert_eq!(person.asked_with_password(), silent(Why::Muted));
    assert_eq!(person.asked(), silent(Why::Muted));
}

#[test]
fn after_a_plain_no_the_same_initiator_is_quiet_for_a_minute_and_others_are_not() {
    let mut person = Person::new();
    person.asked();
    person.ends(Outcome::Denied, Some(Reason::Declined));
    assert_eq!(person.asked(), silent(Why::Quiet));
    let mut ask = person.ask(PriorAuth::None);
    ask.client = BANK;
    assert_eq!(person.admit(&ask), SHOWN);
    person.waits(MINUTE);
    assert_eq!(person.asked(), SHOWN);
}

#[test]
fn ten_wrong_codes_a_day_and_then_none_is_looked_at() {
    let mut person = Person::new();
    for _ in 0..10 {
        assert!(!person.standing.codes_are_spent(&person.policy, person.now));
        assert!(person.standing.spend_try(&person.policy, person.now));
        person.waits(MINUTE);
    }
    assert!(person.standing.codes_are_spent(&person.policy, person.now));
    assert!(!person.standing.spend_try(&person.policy, person.now));
    let by_code = person.ask(PriorAuth::Password);
    assert_eq!(person.admit(&by_code), silent(Why::CodesSpent));
    let without = Ask { needs_code: false, ..person.ask(PriorAuth::Password) };
    assert_eq!(person.admit(&without), SHOWN, "where no code is typed none can be guessed");
    person.waits(24 * 60 * MINUTE - 10 * MINUTE);
    assert!(!person.standing.codes_are_spent(&person.policy, person.now));
}

#[test]
fn the_same_ceremony_again_is_the_same_prompt() {
    let mut person = Person::new();
    person.policy.free_prompts = 1;
    let ask = person.ask(PriorAuth::None);
    assert_eq!(person.admit(&ask), SHOWN);
    assert_eq!(person.admit(&ask), SHOWN, "the initiator tried again");
    person.ends(Outcome::Succeeded, None);
    let other = person.ask(PriorAuth::None);
    assert_eq!(person.admit(&other), SHOWN);
}

#[test]
fn an_end_that_is_told_twice_counts_once() {
    let mut person = Person::new();
    person.asked();
    person.says_not_me(PriorAuth::None);
    let once = person.standing.clone();
    person.says_not_me(PriorAuth::None);
    assert_eq!(person.standing, once);
}

/// The log gives the end of the pause: right before it the same rule objects, and
/// at it this rule does not.
#[test]
fn each_rule_says_when_it_lets_pass() {
    type Story = (Why, fn(&mut Person));
    let stories: [Story; 6] = [
        (Why::Muted, |person| {
            person.asked();
            person.says_not_me(PriorAuth::None);
        }),
        (Why::Quiet, |person| {
            person.asked();
            person.ends(Outcome::Denied, Some(Reason::Declined));
        }),
        (Why::CodesSpent, |person| {
            for _ in 0..10 {
                person.waits(1000);
                assert!(person.standing.spend_try(&person.policy, person.now));
            }
        }),
        (Why::Hour, |person| {
            for _ in 0..10 {
                person.asked();
                person.ends(Outcome::Succeeded, None);
                person.waits(40_000);
            }
        }),
        (Why::Wait, |person| {
            for _ in 0..4 {
                person.asked();
                person.ends(Outcome::Cancelled, None);
                person.waits(61_000);
            }
        }),
        (Why::Live, |person| {
            for _ in 0..3 {
                person.asked();
                person.waits(1000);
            }
            person.policy.free_prompts = 100;
        }),
    ];
    for (why, story) in stories {
        let mut person = Person::new();
        story(&mut person);
        let ask = person.ask(PriorAuth::None);
        assert_eq!(person.admit(&ask), silent(why));
        let end = person.standing.passes_at(&person.policy, &ask, why).unwrap();
        assert!(end > person.now, "{why:?}");
        let before = UnixMillis(end.0 - 1);
        assert_eq!(person.standing.clone().admit(&person.policy, before, &ask), silent(why));
        let then = person.standing.admit(&person.policy, end, &ask);
        assert_ne!(then, silent(why), "{end:?}");
    }
}

#[test]
fn the_record_stays_small_and_dies_a_day_after_its_last_change() {
    let mut person = Person::new();
    let mut longest = 0;
    for _ in 0..2_000 {
        person.asked();
        person.asked_with_password();
        person.standing.spend_try(&person.policy, person.now);
        person.waits(MINUTE);
        longest = longest.max(serde_json::to_string(&person.standing).unwrap().len());
    }
    assert!(longest < 2_000, "{longest} bytes");
    let day = person.now.plus_millis(24 * 60 * MINUTE);
    assert!(person.standing.dies_at().is_some_and(|at| at <= day));
    assert_eq!(Standing::default().dies_at(), None);
}

#[test]
fn a_clock_that_is_set_back_makes_no_pause_longer_than_it_is() {
    let mut person = Person::new();
    person.now = NOON.plus_millis(100 * 24 * 60 * MINUTE);
    for _ in 0..10 {
        person.asked();
        person.ends(Outcome::Succeeded, None);
        person.standing.spend_try(&person.policy, person.now);
    }
    person.says_not_me(PriorAuth::None);
    person.now = NOON;
    assert_eq!(person.asked(), silent(Why::Muted));
    person.waits(24 * 60 * MINUTE);
    assert_eq!(person.asked(), SHOWN);
}
