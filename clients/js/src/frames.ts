// Made from the relay's own types by proto/tests/wire/typescript.rs. Not to be edited.

/** The known values, and later values of a newer relay. */
export type Open<Known extends string> = Known | (string & {});

/** JSON from another party. */
export type JsonObject = { [name: string]: unknown };

export type AckOf =
  | "offer"
  | "challenge"
  | "closed";

export type CardEvent =
  | "present"
  | "error";

export type CeremonyType =
  | "registration"
  | "authentication"
  | "approval";

export type DeclineReason =
  | "declined"
  | "not_me";

export type FrameErrorCode =
  | "invalid_frame"
  | "unknown_type"
  | "unknown_ceremony"
  | "code_malformed"
  | "wrong_code"
  | "other_device"
  | "code_ambiguous"
  | "too_many_codes"
  | "device_locked"
  | "claimed_elsewhere"
  | "not_challenged"
  | "already_answered"
  | "already_closed"
  | "slow_down"
  | "unavailable";

export type NoticeEvent =
  | "device_paired"
  | "device_key_rotated"
  | "card_registered"
  | "card_removed"
  | "device_revoked"
  | "prompts_held"
  | "prompts_unlocked"
  | "push_removed";

export type Outcome =
  | "succeeded"
  | "denied"
  | "rejected"
  | "failed"
  | "expired"
  | "cancelled"
  | "indeterminate";

export type Phase =
  | "offered"
  | "preparing"
  | "challenged"
  | "verifying"
  | "closed";

export type Platform =
  | "android"
  | "ios"
  | "other";

export type Step =
  | "opened"
  | "sent"
  | "woken"
  | "delivered"
  | "claimed"
  | "challenged"
  | "card"
  | "verifying"
  | "closed";

export type Reason =
  | "declined"
  | "not_me"
  | "wrong_code"
  | "deadline"
  | "session_expired"
  | "pin_failed"
  | "pin_not_set"
  | "already_registered"
  | "clone_suspected"
  | "no_credential"
  | "card_full"
  | "card_limit"
  | `card_${number}`
  | "upstream_rejected"
  | "upstream_unavailable"
  | "upstream_full"
  | "upstream_unknown"
  | "interrupted";

export type Status = "pending" | Outcome;

export interface HelloFrame {
  type: "hello";
  auth_within_s: number;
  nonce: string;
}

export interface WelcomeFrame {
  type: "welcome";
  connection_id: string;
  heartbeat_s: number;
  limits: {
    burst: number;
    frame_bytes: number;
    frames_per_s: number;
  };
  reauth_in_s: number;
}

export interface OfferFrame {
  type: "offer";
  after_not_me?: boolean;
  by_code?: boolean;
  ceremony_id: string;
  ceremony_type: CeremonyType;
  claim_id?: string;
  client_name: string;
  code_length: number;
  context?: {
    ip?: string;
    location?: string;
    user_agent?: string;
  };
  display_name: string;
  expires_in: number;
  known_browser?: boolean;
  message?: string;
  rang?: boolean;
  rp_id: string;
  transaction?: {
    fields: Array<{
      label: string;
      value: string;
    }>;
    title: string;
  };
  username: string;
}

export interface ChallengeFrame {
  type: "challenge";
  attempt: string;
  ceremony_id: string;
  ceremony_type: CeremonyType;
  challenge: string;
  client_name: string;
  code_length: number;
  context?: {
    ip?: string;
    location?: string;
    user_agent?: string;
  };
  display_name: string;
  expires_in: number;
  message?: string;
  origin: string;
  public_key: JsonObject;
  rp_id: string;
  transaction?: {
    fields: Array<{
      label: string;
      value: string;
    }>;
    title: string;
  };
  username: string;
}

export interface AcceptedFrame {
  type: "accepted";
  attempt: string;
  ceremony_id: string;
}

export interface ClosedFrame {
  type: "closed";
  ceremony_id: string;
  outcome: Outcome;
  reason?: Open<Reason>;
}

export interface ErrorFrame {
  type: "error";
  ceremony_id?: string;
  claim_id?: string;
  code: Open<FrameErrorCode>;
  message: string;
  retryable: boolean;
}

export interface ReauthFrame {
  type: "reauth";
  auth_within_s: number;
  nonce: string;
}

export interface GoawayFrame {
  type: "goaway";
  reconnect_in_ms: number;
}

export interface NoticeFrame {
  type: "notice";
  ago_s: number;
  card_id?: string;
  count?: number;
  device_id?: string;
  event: Open<NoticeEvent>;
  name?: string;
  notice_id: string;
  platform?: Platform;
  since_s?: number;
}

export interface PongFrame {
  type: "pong";
  id: string;
}

/** What the relay says to a device. */
export type RelayFrame = HelloFrame | WelcomeFrame | OfferFrame | ChallengeFrame | AcceptedFrame | ClosedFrame | ErrorFrame | ReauthFrame | GoawayFrame | NoticeFrame | PongFrame;

export interface AuthFrame {
  type: "auth";
  proof: string;
}

export interface AckFrame {
  type: "ack";
  ceremony_id: string;
  of: AckOf;
}

export interface ClaimFrame {
  type: "claim";
  ceremony_id?: string;
  claim_id?: string;
  code: string;
}

export interface CardFrame {
  type: "card";
  ceremony_id: string;
  code?: number | "already_registered" | "pin_not_set";
  event: CardEvent;
}

export interface AnswerFrame {
  type: "answer";
  attempt: string;
  ceremony_id: string;
  credential: JsonObject;
}

export interface DeclineFrame {
  type: "decline";
  ceremony_id?: string;
  reason: DeclineReason;
}

export interface PingFrame {
  type: "ping";
  id: string;
}

/** What a device says to the relay. */
export type DeviceFrame = AuthFrame | AckFrame | ClaimFrame | CardFrame | AnswerFrame | DeclineFrame | PingFrame;

/** One step of a ceremony, the same on every road. */
export interface WatchEvent {
  at: string;
  phase: Open<Phase>;
  reason?: Open<Reason>;
  seq: number;
  status: Open<Status>;
  step: Open<Step>;
}
