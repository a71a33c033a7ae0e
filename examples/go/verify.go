package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
)

// Claims of a result token.
type Claims struct {
	Issuer       string   `json:"iss"`
	Audience     string   `json:"aud"`
	CeremonyID   string   `json:"jti"`
	Username     string   `json:"sub"`
	ClientNonce  string   `json:"client_nonce"`
	CeremonyType string   `json:"ceremony_type"`
	Outcome      string   `json:"outcome"`
	Binding      string   `json:"binding"`
	IssuedAt     int64    `json:"iat"`
	Expires      int64    `json:"exp"`
	AuthTime     int64    `json:"auth_time"`
	Methods      []string `json:"amr"`
	TxHash       string   `json:"tx_hash"`
	TxBinding    string   `json:"tx_binding"`
	CredHash     string   `json:"cred_hash"`
	DeviceID     string   `json:"device_id"`
}

type jwk struct {
	Type  string `json:"kty"`
	Curve string `json:"crv"`
	ID    string `json:"kid"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

// Verify returns the claims of a token (Result of a View) that proves the success of what was opened;
// now is in seconds since 1970. A *RelayError means that the keys cannot be fetched: then try again.
// Act once for each CeremonyID.
func (r *Relay) Verify(ctx context.Context, token string, opened Opened, now int64) (*Claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("not a compact JWS")
	}
	var header struct {
		Algorithm string          `json:"alg"`
		Type      string          `json:"typ"`
		KeyID     string          `json:"kid"`
		Critical  json.RawMessage `json:"crit"`
	}
	if err := object(parts[0], &header); err != nil {
		return nil, err
	}
	if header.Algorithm != "ES256" || header.Type != "ceremony-result+jwt" || header.Critical != nil {
		return nil, errors.New("another kind of token")
	}
	if header.KeyID == "" {
		return nil, errors.New("no key id")
	}
	key, err := r.key(ctx, header.KeyID, now)
	if err != nil {
		return nil, err
	}
	signature, err := decode(parts[2])
	if err != nil || len(signature) != 64 {
		return nil, errors.New("the signature is malformed")
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	x, y := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if !ecdsa.Verify(key, digest[:], x, y) {
		return nil, errors.New("the signature does not verify")
	}

	var claims Claims
	if err := object(parts[1], &claims); err != nil {
		return nil, err
	}
	binding, txHash := opened.Binding, ""
	if binding == "" {
		binding = "code"
	}
	txBinding := claims.TxBinding == ""
	if opened.Transaction != nil {
		txHash = TransactionHash(*opened.Transaction)
		txBinding = claims.TxBinding == "card" || claims.TxBinding == r.TxBinding
	}
	for _, check := range []struct {
		holds     bool
		otherwise string
	}{
		{claims.Issuer == r.Issuer, "another issuer"},
		{claims.Audience == r.ClientID, "another audience"},
		{claims.CeremonyID == opened.ID, "another ceremony"},
		{claims.Username == opened.Username, "another user"},
		{claims.ClientNonce == opened.ClientNonce, "another nonce"},
		{claims.CeremonyType == opened.Type, "another type of ceremony"},
		{claims.Outcome == "succeeded", "not a success"},
		{claims.Binding == binding, "another binding"},
		{claims.IssuedAt > 0 && claims.IssuedAt <= now+r.Leeway && now < claims.Expires+r.Leeway, "not valid now"},
		{claims.AuthTime >= opened.OpenedAt-r.Leeway && claims.AuthTime <= now+r.Leeway, "decided at another time"},
		{now-claims.AuthTime <= r.MaxAge, "decided too long ago"},
		// Two factors: omit this only if your policy accepts a card without its PIN.
		{contains(claims.Methods, "pin"), "the card did not verify its user"},
		{claims.TxHash == txHash, "another transaction"},
		{txBinding, "the words are not vouched for as they must be"},
	} {
		if !check.holds {
			return nil, errors.New(check.otherwise)
		}
	}
	return &claims, nil
}

// TransactionHash is the SHA-256 of the transaction's canonical JSON (RFC 8785), base64url. Compute
// it from what you are about to execute.
func TransactionHash(transaction Transaction) string {
	fields := make([]string, len(transaction.Fields))
	for at, field := range transaction.Fields {
		fields[at] = `{"label":` + quote(field.Label) + `,"value":` + quote(field.Value) + `}`
	}
	canonical := `{"fields":[` + strings.Join(fields, ",") + `],"title":` + quote(transaction.Title) + `}`
	digest := sha256.Sum256([]byte(canonical))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

// quote encodes a string by RFC 8785, which json.Marshal does not. The relay refuses control
// characters, so nothing else needs escaping.
func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// key returns the published key of this id. The set is fetched again for an unknown one.
func (r *Relay) key(ctx context.Context, id string, now int64) (*ecdsa.PublicKey, error) {
	key, found, fresh := r.kept(id, now)
	asked := false
	if !fresh {
		var err error
		if asked, err = r.fetch(ctx, id, now); err != nil {
			return nil, err
		}
		key, found, _ = r.kept(id, now)
	}
	if !found && !asked {
		// It may have been published after the set was fetched.
		return nil, &RelayError{Code: "unknown_key", Detail: "the keys were fetched a moment ago"}
	}
	if key.Type != "EC" || key.Curve != "P-256" {
		return nil, errors.New("no such key")
	}
	x, errX := decode(key.X)
	y, errY := decode(key.Y)
	public := ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int).SetBytes(x), Y: new(big.Int).SetBytes(y)}
	if errX != nil || errY != nil || !public.Curve.IsOnCurve(public.X, public.Y) {
		return nil, errors.New("the key is malformed")
	}
	return &public, nil
}

// kept returns the cached key of this id, if any, and whether the cached set is recent enough.
func (r *Relay) kept(id string, now int64) (key jwk, found, fresh bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	key, found = r.keys[id]
	lifetime := int64(unknown)
	if found {
		lifetime = known
	}
	return key, found, now-r.fetched < lifetime
}

// fetch fetches the set, unless another goroutine does meanwhile.
func (r *Relay) fetch(ctx context.Context, id string, now int64) (asked bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, keysFor)
	defer cancel()
	select {
	case r.fetching <- struct{}{}:
		defer func() { <-r.fetching }()
	case <-ctx.Done():
		return false, &RelayError{Code: "unreachable", Detail: "the keys: " + ctx.Err().Error()}
	}
	if _, _, fresh := r.kept(id, now); fresh {
		return false, nil
	}
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := r.call(ctx, "GET", "/.well-known/jwks.json", nil, "", &set); err != nil {
		return false, err
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.keys, r.fetched = map[string]jwk{}, now
	for _, key := range set.Keys {
		r.keys[key.ID] = key
	}
	return true, nil
}

func object(part string, into any) error {
	text, err := decode(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// decode reads canonical base64url: the package ignores line feeds and spare bits.
func decode(part string) ([]byte, error) {
	bytes, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil || base64.RawURLEncoding.EncodeToString(bytes) != part {
		return nil, errors.New("not base64url")
	}
	return bytes, nil
}

func contains(list []string, wanted string) bool {
	for _, entry := range list {
		if entry == wanted {
			return true
		}
	}
	return false
}
