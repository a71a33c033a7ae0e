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

// Verify gives the claims of a token (Result of a View) that proves the success of what was opened;
// now is in seconds since 1970. Act once for each CeremonyID.
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
		// Two factors: leave this out only if your policy takes a card without its PIN.
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

// quote writes a string by RFC 8785, which json.Marshal does not. The relay takes no control
// characters, so nothing else is to be escaped.
func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// key is the published one of this id. The set is fetched again for one that is not in it.
func (r *Relay) key(ctx context.Context, id string, now int64) (*ecdsa.PublicKey, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	lifetime := int64(unknown)
	if _, found := r.keys[id]; found {
		lifetime = known
	}
	if now-r.fetched >= lifetime {
		var set struct {
			Keys []jwk `json:"keys"`
		}
		if err := r.call(ctx, "GET", "/.well-known/jwks.json", nil, "", &set); err != nil {
			return nil, err
		}
		r.keys, r.fetched = map[string]jwk{}, now
		for _, key := range set.Keys {
			r.keys[key.ID] = key
		}
	}
	key := r.keys[id]
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

func object(part string, into any) error {
	text, err := decode(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// decode reads base64url in its one spelling: the package passes over line feeds and spare bits.
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
