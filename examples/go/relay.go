// A backend's client of fido-relay with Go's standard library (1.18 or later): opens ceremonies, waits
// for their outcome, verifies the signed result. Copy this file and verify.go; main.go uses them.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	wait     = 25 * time.Second // one long poll
	slack    = 10 * time.Second // tolerance of any call beyond that
	keysFor  = 5 * time.Second  // limit for fetching the keys, since verifications wait for it
	openFor  = 30 * time.Second // how long an opening is retried while the relay is unreachable
	grace    = 60 * time.Second // how long to wait for an outcome after its deadline, since the relay may restart
	unknown  = 60               // minimum age in seconds of the key set before it is fetched for an unknown key
	known    = 3600             // maximum age in seconds of the key set
	mostBody = 1 << 20
)

// Ceremony is the body of POST /v1/ceremonies; the page for initiators has all fields.
type Ceremony struct {
	Type        string       `json:"type"`
	Username    string       `json:"username"`
	DisplayName string       `json:"display_name,omitempty"`
	Message     string       `json:"message,omitempty"`
	Binding     string       `json:"binding,omitempty"`
	TimeoutS    int          `json:"timeout_s,omitempty"`
	PriorAuth   string       `json:"prior_auth,omitempty"`
	ClientNonce string       `json:"client_nonce,omitempty"`
	Transaction *Transaction `json:"transaction,omitempty"`
}

// Transaction is what a user approves.
type Transaction struct {
	Title  string  `json:"title"`
	Fields []Field `json:"fields"`
}

// Field of a transaction.
type Field struct {
	Label string `json:"label"`
	Value string `json:"value"`
}

// Opened is what Outcome and Verify need: keep it in the server-side session.
type Opened struct {
	Ceremony
	ID        string `json:"id"`
	Code      string `json:"code"`
	Ticket    string `json:"ticket"`
	ExpiresIn int64  `json:"expires_in"`
	OpenedAt  int64  `json:"opened_at"`
}

// View of a ceremony.
type View struct {
	Status   string `json:"status"`
	Reason   string `json:"reason"`
	Seq      int    `json:"seq"`
	Progress []struct {
		Seq  int    `json:"seq"`
		Step string `json:"step"`
	} `json:"progress"`
	Result string `json:"result"`
}

// RelayError is a refusal by the relay; Status 0 means no answer.
type RelayError struct {
	Status     int
	Code       string `json:"code"`
	Title      string `json:"title"`
	Detail     string `json:"detail"`
	retryAfter time.Duration
}

func (e *RelayError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s: %s %s", e.Status, e.Code, e.Title, e.Detail))
}

// Passes reports whether the same call may succeed later.
func (e *RelayError) Passes() bool {
	return e.Status == 0 || e.Status == 429 || e.Status >= 500 && e.Status != 501
}

// Relay is safe for use by several goroutines.
type Relay struct {
	URL, APIKey, ClientID string
	// Issuer is the relay's public URL, which may differ from the one that the backend uses.
	Issuer string
	// TxBinding "card" requires the card's own signature over the text of an approval; "relay" also
	// accepts the relay's, as with an external FIDO2 server.
	TxBinding string
	// Leeway and MaxAge are in seconds; MaxAge is the maximum age of a success.
	Leeway, MaxAge int64

	// fetching holds a value while a goroutine fetches the keys; mutex guards what follows it.
	fetching chan struct{}
	mutex    sync.Mutex
	keys     map[string]jwk
	fetched  int64
}

// NewRelay returns a client of the relay at this URL.
func NewRelay(url, apiKey, clientID string) *Relay {
	url = strings.TrimSuffix(url, "/")
	return &Relay{URL: url, APIKey: apiKey, ClientID: clientID, Issuer: url, TxBinding: "card", Leeway: 30, MaxAge: 300,
		fetching: make(chan struct{}, 1)}
}

// Connect returns a client and fetches the client id.
func Connect(ctx context.Context, url, apiKey string) (*Relay, error) {
	relay := NewRelay(url, apiKey, "")
	var self struct {
		ClientID string `json:"client_id"`
	}
	err := relay.call(ctx, "GET", "/v1/clients/self", nil, "", &self)
	relay.ClientID = self.ClientID
	return relay, err
}

// Open opens a ceremony. Retries send the same key, so they open no second one; to retry after a
// restart of your own, pass the same key and the same ceremony, its nonce included.
func (r *Relay) Open(ctx context.Context, ceremony Ceremony, idempotencyKey string) (Opened, error) {
	if ceremony.ClientNonce == "" {
		ceremony.ClientNonce = Random()
	}
	started := time.Now()
	opened := Opened{}
	err := r.persist(ctx, started.Add(openFor), func() error {
		return r.call(ctx, "POST", "/v1/ceremonies", ceremony, idempotencyKey, &opened)
	})
	opened.Ceremony, opened.OpenedAt = ceremony, started.Unix()
	return opened, err
}

// Outcome waits for the end, across timeouts and restarts of the relay; seen gets each step once.
func (r *Relay) Outcome(ctx context.Context, opened Opened, seen func(step string)) (View, error) {
	until := time.Unix(opened.OpenedAt+opened.ExpiresIn, 0).Add(grace)
	reported := map[int]bool{}
	for since := 0; ; {
		view := View{}
		path := fmt.Sprintf("/v1/ceremonies/%s?wait=%d&since=%d", opened.ID, int(wait.Seconds()), since)
		err := r.persist(ctx, until, func() error { return r.call(ctx, "GET", path, nil, "", &view) })
		if err != nil {
			return view, err
		}
		for _, entry := range view.Progress {
			if !reported[entry.Seq] {
				reported[entry.Seq] = true
				seen(entry.Step)
			}
		}
		since = view.Seq
		if view.Status != "pending" {
			return view, nil
		}
		if time.Now().After(until) {
			return view, &RelayError{Code: "unknown", Detail: "the ceremony does not end"}
		}
	}
}

// Cancel cancels a ceremony. One that has ended keeps its outcome.
func (r *Relay) Cancel(ctx context.Context, opened Opened) error {
	err := r.call(ctx, "DELETE", "/v1/ceremonies/"+opened.ID, nil, "", nil)
	var refusal *RelayError
	if errors.As(err, &refusal) && refusal.Code == "already_closed" {
		return nil
	}
	return err
}

// Random returns a fresh nonce or idempotency key.
func Random() string {
	bytes := make([]byte, 16)
	if _, err := rand.Read(bytes); err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(bytes)
}

// persist retries a call that may succeed later.
func (r *Relay) persist(ctx context.Context, until time.Time, call func() error) error {
	for most := time.Second; ; {
		err := call()
		var refusal *RelayError
		if !errors.As(err, &refusal) || !refusal.Passes() || ctx.Err() != nil {
			return err
		}
		pause := refusal.retryAfter
		if pause == 0 {
			chance, _ := rand.Int(rand.Reader, big.NewInt(int64(most)))
			pause = time.Duration(chance.Int64())
		}
		if time.Now().Add(pause).After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
		if most < 8*time.Second {
			most *= 2
		}
	}
}

// A redirect could leak the key to another host.
var client = http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
	return http.ErrUseLastResponse
}}

func (r *Relay) call(ctx context.Context, method, path string, body any, idempotencyKey string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, wait+slack)
	defer cancel()
	text := []byte{}
	if body != nil {
		text, _ = json.Marshal(body)
	}
	request, err := http.NewRequestWithContext(ctx, method, r.URL+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+r.APIKey)
	request.Header.Set("Content-Type", "application/json")
	if idempotencyKey != "" {
		request.Header.Set("Idempotency-Key", idempotencyKey)
	}
	answer, err := client.Do(request)
	if err != nil {
		return &RelayError{Code: "unreachable", Detail: err.Error()}
	}
	defer answer.Body.Close()
	decoder := json.NewDecoder(io.LimitReader(answer.Body, mostBody))
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		// RFC 9457: programs use "code". Anything else is a proxy's answer.
		refusal := RelayError{Code: "unknown"}
		_ = decoder.Decode(&refusal)
		refusal.Status = answer.StatusCode
		seconds, _ := strconv.ParseUint(answer.Header.Get("Retry-After"), 10, 32)
		refusal.retryAfter = time.Duration(seconds) * time.Second
		return &refusal
	}
	if into == nil {
		return nil
	}
	if err := decoder.Decode(into); err != nil {
		return &RelayError{Code: "unreachable", Detail: "no answer of a relay: " + err.Error()}
	}
	return nil
}
