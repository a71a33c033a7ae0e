// Verifies result tokens of fido-relay with Go's standard library (1.18 or later). verifyResult is
// the part to take; main reads questions from standard input, see README.md.
package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
	"time"
)

const leeway = 5

// Expected is what was opened. An optional value that was not sent stays empty.
type Expected struct {
	Issuer       string `json:"iss"`
	Audience     string `json:"aud"`
	CeremonyID   string `json:"jti"`
	Username     string `json:"sub"`
	ClientNonce  string `json:"client_nonce"`
	CeremonyType string `json:"ceremony_type"`
	Binding      string `json:"binding"`
	TxHash       string `json:"tx_hash"`
}

// Claims of a result token.
type Claims struct {
	Expected
	Outcome  string   `json:"outcome"`
	IssuedAt int64    `json:"iat"`
	Expires  int64    `json:"exp"`
	Methods  []string `json:"amr"`
}

// KeySet is the relay's /.well-known/jwks.json.
type KeySet struct {
	Keys []struct {
		Type  string `json:"kty"`
		Curve string `json:"crv"`
		ID    string `json:"kid"`
		X     string `json:"x"`
		Y     string `json:"y"`
	} `json:"keys"`
}

// verifyResult gives the claims of a token that proves expected; now is in seconds since 1970.
func verifyResult(token string, keys KeySet, expected Expected, now int64) (*Claims, error) {
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
	key, err := keys.find(header.KeyID)
	if err != nil {
		return nil, err
	}
	signature, err := decode(parts[2])
	if err != nil || len(signature) != 64 {
		return nil, errors.New("the signature is malformed")
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if !ecdsa.Verify(key, digest[:], r, s) {
		return nil, errors.New("the signature does not verify")
	}

	var claims Claims
	if err := object(parts[1], &claims); err != nil {
		return nil, err
	}
	if claims.Expected != expected {
		return nil, errors.New("another issuer, audience, ceremony, user, nonce, type, binding or transaction")
	}
	if claims.Outcome != "succeeded" {
		return nil, errors.New("not a success")
	}
	if claims.IssuedAt > now+leeway || now >= claims.Expires+leeway {
		return nil, errors.New("not valid now")
	}
	for _, method := range claims.Methods {
		// Two factors: leave this out only if your policy takes a card without its PIN.
		if method == "pin" {
			return &claims, nil
		}
	}
	return nil, errors.New("the card did not verify its user")
}

func (keys KeySet) find(id string) (*ecdsa.PublicKey, error) {
	for _, key := range keys.Keys {
		if key.ID != id || key.Type != "EC" || key.Curve != "P-256" {
			continue
		}
		x, errX := decode(key.X)
		y, errY := decode(key.Y)
		public := ecdsa.PublicKey{
			Curve: elliptic.P256(), X: new(big.Int).SetBytes(x), Y: new(big.Int).SetBytes(y),
		}
		if errX != nil || errY != nil || !public.Curve.IsOnCurve(public.X, public.Y) {
			return nil, errors.New("the key is malformed")
		}
		return &public, nil
	}
	return nil, errors.New("no such key")
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

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var question struct {
			Token    string   `json:"token"`
			Keys     KeySet   `json:"jwks"`
			Expected Expected `json:"expected"`
			Now      int64    `json:"now"`
		}
		if err := json.Unmarshal(lines.Bytes(), &question); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		if question.Now == 0 {
			question.Now = time.Now().Unix()
		}
		if _, err := verifyResult(question.Token, question.Keys, question.Expected, question.Now); err != nil {
			fmt.Println("refused:", err)
		} else {
			fmt.Println("ok")
		}
	}
}
