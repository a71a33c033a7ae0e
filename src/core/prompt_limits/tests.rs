//! The rules, each as a short story.

use fido_relay_proto::ClientId;

use super::SuppressionReason as Rule;
use super::*;

const NOON: UnixMillis = UnixMillis(1_800_000_000_000);
const MINUTE: u64 = 60_000;

/// A user with a prompt state.
struct Person {
    prompt_state: UserPromptState,
    policy: Policy,
    now: UnixMillis,
    asked: u16,
    lane: Lane,
}

impl Person {
    fn new() -> Self {
        let (prompt_state, policy) = (UserPromptState::default(), Policy::default());
        Self { prompt_state, policy, now: NOON, asked: 0, lane: Lane::Stranger }
    }

    fn waits(&mut self, millis: u64) -> &mut Self {
        self.now = self.now.plus_millis(millis);
        self
    }

    fn ask(&mut self, prior_auth: PriorAuth, browser: Option<&str>) -> PromptRequest {
        self.asked += 1;
        PromptRequest {
            ceremony: ceremony(self.asked),
            client: SHOP,
            prior_auth,
            browser: browser.map(hash),
            until: self.now.plus_millis(2 * MINUTE),
        }
    }

    fn admit(&mut self, ask: &PromptRequest) -> Option<Rule> {
        let admission = self.prompt_state.admit(&self.policy, self.now, ask);
        self.lane = admission.lane;
        admission.suppression.map(|suppression| suppression.reason)
    }

    /// An initiator that knows only the username.
    fn asked(&mut self) -> Option<Rule> {
        let ask = self.ask(PriorAuth::None, None);
        self.admit(&ask)
    }

    /// An initiator that vouches for the user.
    fn asked_by(&mut self, client: ClientId) -> Option<Rule> {
        let ask = PromptRequest { client, ..self.ask(PriorAuth::Password, None) };
        self.admit(&ask)
    }

    /// A browser that its page tells from others.
    fn asked_from(&mut self, browser: &str) -> Option<Rule> {
        let ask = self.ask(PriorAuth::None, Some(browser));
        self.admit(&ask)
    }

    /// The last one that was asked ends, after it reached a phone.
    fn ends(&mut self, outcome: Outcome, reason: Option<Reason>) {
        self.ends_as(SHOP, None, true, (outcome, reason));
    }

    fn ends_as(
        &mut self,
        client: ClientId,
        browser: Option<&str>,
        rang: bool,
        (outcome, reason): (Outcome, Option<Reason>),
    ) {
        let end = EndedPrompt {
            ceremony: ceremony(self.asked),
            client,
            lane: self.lane.clone(),
            browser: browser.map(hash),
            rang,
            outcome,
            reason,
            at: self.now,
        };
        self.prompt_state.ended(&self.policy, &end);
    }

    fn succeeds_in(&mut self, browser: &str) {
        assert_eq!(self.asked_from(browser), None);
        self.ends_as(SHOP, Some(browser), true, (Outcome::Succeeded, None));
    }

    fn says_not_me(&mut self) {
        self.ends(Outcome::Denied, Some(Reason::NotMe));
    }
}

const SHOP: ClientId = ClientId::from_bytes([1; 16]);
const BANK: ClientId = ClientId::from_bytes([2; 16]);

fn ceremony(nth: u16) -> CeremonyId {
    CeremonyId::from_bytes(u128::from(nth).to_be_bytes())
}

fn hash(browser: &str) -> BrowserHash {
    BrowserHash(browser.to_owned())
}

#[test]
fn three_prompts_are_free_and_then_the_pauses_grow_to_half_an_hour() {
    let mut person = Person::new();
    person.policy.prompts_per_hour = 100;
    for _ in 0..3 {
        assert_eq!(person.asked(), None);
        person.ends(Outcome::Cancelled, None);
    }
    for pause in [MINUTE, 5 * MINUTE, 30 * MINUTE, 30 * MINUTE] {
        assert_eq!(person.asked(), Some(Rule::Wait));
        person.waits(pause - 1);
        assert_eq!(person.asked(), Some(Rule::Wait), "{pause} ms are not over");
        person.waits(1);
        assert_eq!(person.asked(), None, "{pause} ms are over");
        person.ends(Outcome::Expired, Some(Reason::Deadline));
    }
}

#[test]
fn one_that_is_held_back_does_not_make_the_pause_longer() {
    let mut person = Person::new();
    for _ in 0..3 {
        person.asked();
        person.ends(Outcome::Cancelled, None);
    }
    for _ in 0..50 {
        person.waits(1000);
        assert_eq!(person.asked(), Some(Rule::Wait));
    }
    person.waits(10_000);
    assert_eq!(person.asked(), None, "an attacker cannot push the pause ahead of them");
}

#[test]
fn what_reached_no_phone_is_counted_no_longer_once_it_ends() {
    let mut person = Person::new();
    for _ in 0..100 {
        assert_eq!(person.asked(), None, "the phone is away");
        person.ends_as(SHOP, None, false, (Outcome::Expired, Some(Reason::Deadline)));
        person.waits(2 * MINUTE);
    }
    for _ in 0..3 {
        assert_eq!(person.asked(), None);
        person.ends(Outcome::Cancelled, None);
    }
    let rang = person.now;
    person.waits(MINUTE);
    assert_eq!(person.asked(), None);
    person.waits(MINUTE);
    person.ends_as(SHOP, None, false, (Outcome::Expired, Some(Reason::Deadline)));
    assert_eq!(person.asked(), None, "the pause is still the one after {rang:?}");
}

#[test]
fn cancelling_early_gives_nothing_back() {
    let mut person = Person::new();
    for _ in 0..3 {
        assert_eq!(person.asked(), None);
        // Its phone's word may come later than the cancellation.
        person.ends_as(SHOP, None, false, (Outcome::Cancelled, None));
    }
    assert_eq!(person.asked(), Some(Rule::Wait));
}

#[test]
fn a_success_makes_its_own_lane_free_again_and_no_other() {
    let mut person = Person::new();
    person.succeeds_in("laptop");
    for _ in 0..3 {
        person.asked();
        person.ends(Outcome::Cancelled, None);
    }
    for _ in 0..20 {
        assert_eq!(person.asked_from("laptop"), None);
        person.ends_as(SHOP, Some("laptop"), true, (Outcome::Succeeded, None));
    }
    assert_eq!(person.asked(), Some(Rule::Wait), "strangers gain nothing by it");
    person.waits(MINUTE);
    assert_eq!(person.asked(), None);
    person.ends(Outcome::Succeeded, None);
    for _ in 0..3 {
        assert_eq!(person.asked(), None);
        person.ends(Outcome::Cancelled, None);
    }
    assert_eq!(person.asked(), Some(Rule::Wait));
}

#[test]
fn a_success_that_rang_on_no_phone_frees_nothing_and_makes_its_browser_known() {
    let mut person = Person::new();
    for _ in 0..3 {
        person.asked();
        person.ends(Outcome::Cancelled, None);
    }
    assert_eq!(person.asked_from("laptop"), Some(Rule::Wait));
    person.ends_as(SHOP, Some("laptop"), false, (Outcome::Succeeded, None));
    assert_eq!(person.asked(), Some(Rule::Wait), "an attacker gains no prompt by it");
    assert_eq!(person.asked_from("laptop"), None);
}

#[test]
fn an_hour_has_ten_prompts_of_strangers_and_twenty_of_each_initiator_that_vouches() {
    let mut person = Person::new();
    person.policy.free_prompts = 100;
    for _ in 0..10 {
        assert_eq!(person.asked(), None);
        person.ends(Outcome::Cancelled, None);
        person.waits(1);
    }
    assert_eq!(person.asked(), Some(Rule::Hour));
    for client in [SHOP, BANK] {
        for _ in 0..20 {
            assert_eq!(person.asked_by(client), None);
            person.ends_as(client, None, true, (Outcome::Cancelled, None));
        }
        assert_eq!(person.asked_by(client), Some(Rule::Hour));
    }
    person.waits(60 * MINUTE);
    assert_eq!(person.asked(), Some(Rule::Hour), "they are counted by the minute");
    person.waits(MINUTE - 10);
    assert_eq!(person.asked(), None);
}

#[test]
fn what_an_initiator_vouches_for_has_no_pauses() {
    let mut person = Person::new();
    for _ in 0..20 {
        assert_eq!(person.asked_by(SHOP), None);
        person.ends(Outcome::Cancelled, None);
    }
}

#[test]
fn three_live_at_a_time_in_a_lane_and_a_place_is_free_when_one_ends_or_expires() {
    let mut person = Person::new();
    person.policy.free_prompts = 100;
    for _ in 0..3 {
        assert_eq!(person.asked(), None);
    }
    assert_eq!(person.asked(), Some(Rule::Live));
    assert_eq!(person.asked_by(BANK), None, "another lane");
    person.asked = 2;
    person.lane = Lane::Stranger;
    person.ends(Outcome::Cancelled, None);
    person.asked = 100;
    assert_eq!(person.asked(), None);
    assert_eq!(person.asked(), Some(Rule::Live));
    person.waits(2 * MINUTE);
    assert_eq!(person.asked(), None, "an expiry needs no word");
}

#[test]
fn a_flood_by_the_name_alone_costs_the_other_lanes_nothing() {
    let mut person = Person::new();
    person.succeeds_in("laptop");
    for _ in 0..500 {
        person.asked();
        person.waits(MINUTE / 2);
    }
    person.lane = Lane::Stranger;
    person.says_not_me();
    assert_eq!(person.asked(), Some(Rule::Muted));
    assert_eq!(person.asked_from("nobody knows it"), Some(Rule::Muted), "it is a stranger");
    assert_eq!(person.asked_by(SHOP), None);
    assert_eq!(person.asked_from("laptop"), None);
}

#[test]
fn a_browser_is_known_for_ninety_days_after_the_last_success_and_eight_are() {
    let mut person = Person::new();
    for nth in 0..9 {
        person.succeeds_in(&format!("browser {nth}"));
        person.waits(7 * MINUTE);
    }
    person.asked_from("browser 0");
    assert_eq!(person.lane, Lane::Stranger, "the oldest of nine");
    person.asked_from("browser 1");
    assert_eq!(person.lane, Lane::Known(hash("browser 1")));
    person.waits(90 * 24 * 60 * MINUTE);
    person.asked_from("browser 8");
    assert_eq!(person.lane, Lane::Stranger);
}

#[test]
fn not_me_mutes_strangers_of_all_initiators_for_twenty_minutes() {
    let mut person = Person::new();
    person.asked();
    person.says_not_me();
    assert!(person.prompt_state.is_after_not_me(person.now));
    let ask = PromptRequest { client: BANK, ..person.ask(PriorAuth::None, None) };
    assert_eq!(person.admit(&ask), Some(Rule::Muted), "other initiators too");
    person.waits(20 * MINUTE - 1);
    assert_eq!(person.asked(), Some(Rule::Muted));
    person.waits(1);
    assert_eq!(person.asked(), None);
    assert!(!person.prompt_state.is_after_not_me(person.now));
}

#[test]
fn not_me_to_one_that_vouches_mutes_strangers_and_that_initiator_alone() {
    let mut person = Person::new();
    person.succeeds_in("laptop");
    person.asked_by(SHOP);
    person.says_not_me();
    assert_eq!(person.asked_by(SHOP), Some(Rule::Muted));
    assert_eq!(person.asked(), Some(Rule::Muted));
    assert_eq!(person.asked_by(BANK), None);
    assert_eq!(person.asked_from("laptop"), None);
}

#[test]
fn after_a_plain_no_the_same_initiator_is_quiet_for_a_minute_and_others_are_not() {
    let mut person = Person::new();
    person.asked();
    person.ends(Outcome::Denied, Some(Reason::Declined));
    assert_eq!(person.asked(), Some(Rule::Quiet));
    let ask = PromptRequest { client: BANK, ..person.ask(PriorAuth::None, None) };
    assert_eq!(person.admit(&ask), None);
    person.waits(MINUTE);
    assert_eq!(person.asked(), None);
}

#[test]
fn the_same_ceremony_again_is_the_same_prompt() {
    let mut person = Person::new();
    person.policy.free_prompts = 1;
    let ask = person.ask(PriorAuth::None, None);
    assert_eq!(person.admit(&ask), None);
    assert_eq!(person.admit(&ask), None, "the initiator tried again");
    person.ends(Outcome::Succeeded, None);
    assert_eq!(person.asked(), None);
}

#[test]
fn an_end_that_comes_twice_counts_once() {
    let mut person = Person::new();
    person.asked();
    person.says_not_me();
    let once = person.prompt_state.clone();
    person.says_not_me();
    assert_eq!(person.prompt_state, once);
}

#[test]
fn phones_hear_of_prompts_that_were_held_back_once_an_hour() {
    let mut person = Person::new();
    let mut heard = Vec::new();
    for _ in 0..300 {
        let ask = person.ask(PriorAuth::None, None);
        let admission = person.prompt_state.admit(&person.policy, person.now, &ask);
        heard.extend(admission.notice.map(|held| (person.now.millis_since(NOON), held.count)));
        person.waits(MINUTE / 2);
    }
    assert!((2..=3).contains(&heard.len()), "{heard:?}");
    assert_eq!(heard[0].1, 1, "the first at once");
    assert!(heard.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 60 * MINUTE), "{heard:?}");
    assert!(heard[1].1 > 100, "and then how many there were: {heard:?}");
}

#[test]
fn an_initiator_lifts_the_pauses_of_its_own_prompts_three_times_a_day() {
    let mut person = Person::new();
    for _ in 0..3 {
        person.asked();
        person.ends(Outcome::Cancelled, None);
    }
    assert_eq!(person.asked(), Some(Rule::Wait));
    assert_eq!(person.prompt_state.unlock(&person.policy, person.now, SHOP), Ok(()));
    let others = PromptRequest { client: BANK, ..person.ask(PriorAuth::None, None) };
    assert_eq!(person.admit(&others), Some(Rule::Wait), "of no other");
    assert_eq!(person.asked(), None);
    person.ends(Outcome::Cancelled, None);
    assert_eq!(person.asked(), Some(Rule::Wait), "for one prompt");
    assert_eq!(person.prompt_state.unlock(&person.policy, person.now, SHOP), Ok(()));
    person.lane = Lane::Stranger;
    person.says_not_me();
    assert_eq!(person.prompt_state.unlock(&person.policy, person.now, SHOP), Ok(()));
    assert_eq!(person.asked(), Some(Rule::Muted), "\"not me\" is the person's");
    let first_again = NOON.plus_millis(DAY_MS);
    let fourth = person.prompt_state.unlock(&person.policy, person.now, SHOP);
    assert_eq!(fourth, Err(first_again), "the fourth");
    person.prompt_state.unlock_all(person.now);
    assert_eq!(person.asked(), None, "the operator lifts everything");
}

/// The log gives the end of the pause: right before it the same rule objects, and
/// at it this rule does not.
#[test]
fn each_rule_says_when_it_lets_pass() {
    type Story = (Rule, fn(&mut Person));
    let stories: [Story; 5] = [
        (Rule::Muted, |person| {
            person.asked();
            person.says_not_me();
        }),
        (Rule::Quiet, |person| {
            person.asked();
            person.ends(Outcome::Denied, Some(Reason::Declined));
        }),
        (Rule::Hour, |person| {
            person.policy.free_prompts = 100;
            for _ in 0..10 {
                person.asked();
                person.ends(Outcome::Cancelled, None);
                person.waits(40_000);
            }
        }),
        (Rule::Wait, |person| {
            for _ in 0..4 {
                person.asked();
                person.ends(Outcome::Cancelled, None);
                person.waits(61_000);
            }
        }),
        (Rule::Live, |person| {
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
        let ask = person.ask(PriorAuth::None, None);
        let rule = person.prompt_state.admit(&person.policy, person.now, &ask).suppression.unwrap();
        assert_eq!(rule.reason, why);
        assert!(rule.until > person.now, "{why:?}");
        let before = UnixMillis(rule.until.0 - 1);
        let still = person.prompt_state.clone().admit(&person.policy, before, &ask).suppression;
        assert_eq!(still.map(|suppression| suppression.reason), Some(why));
        let then = person.prompt_state.admit(&person.policy, rule.until, &ask).suppression;
        assert_ne!(then.map(|suppression| suppression.reason), Some(why), "{rule:?}");
    }
}

#[test]
fn the_record_stays_small_and_dies_a_day_after_its_last_change_or_with_its_browsers() {
    let mut person = Person::new();
    let mut longest = 0;
    for nth in 0..2_000_u32 {
        person.asked();
        person.asked_by(SHOP);
        if nth % 100 == 0 {
            person.asked_from(&format!("browser {nth}"));
            let browser = format!("browser {nth}");
            person.ends_as(SHOP, Some(&browser), true, (Outcome::Succeeded, None));
        }
        person.waits(MINUTE);
        longest = longest.max(serde_json::to_string(&person.prompt_state).unwrap().len());
    }
    assert!(longest < 7_000, "{longest} bytes");
    let days = person.now.plus_millis(90 * 24 * 60 * MINUTE);
    assert!(person.prompt_state.expires_at().is_some_and(|at| at <= days));
    let mut stranger = Person::new();
    stranger.asked();
    assert_eq!(stranger.prompt_state.expires_at(), Some(NOON.plus_millis(DAY_MS)));
    assert_eq!(UserPromptState::default().expires_at(), None);
}

#[test]
fn a_clock_that_is_set_back_makes_no_pause_longer_than_it_is() {
    let mut person = Person::new();
    person.now = NOON.plus_millis(100 * 24 * 60 * MINUTE);
    for _ in 0..10 {
        person.asked();
        person.ends(Outcome::Cancelled, None);
    }
    person.lane = Lane::Stranger;
    person.says_not_me();
    person.now = NOON;
    assert_eq!(person.asked(), Some(Rule::Muted));
    person.waits(24 * 60 * MINUTE);
    assert_eq!(person.asked(), None);
}

/// As the version before wrote it: with wrong codes, and with one budget for all that vouch.
#[test]
fn a_record_of_an_earlier_version_keeps_what_strangers_had_used_up() {
    let earlier = r#"{"live":[{"ceremony":"cer_BQUFBQUFBQUFBQUFBQUFBQ","vouched":false,"until":1800000100000}],
        "plain":{"minutes":[[1800000000000,3]],"last":1800000000000,"unanswered":4,"muted_until":null},
        "vouched":{"minutes":[],"last":null,"unanswered":0,"muted_until":null},
        "quiet":[],"wrong_codes":[1800000000000],"touched":1800000000000}"#;
    let mut person = Person::new();
    person.prompt_state = serde_json::from_str(earlier).unwrap();
    assert_eq!(person.asked(), Some(Rule::Wait));
    assert_eq!(person.asked_by(SHOP), None);
}
