// Package oauth2 stands in for golang.org/x/oauth2, so that the test needs no network.
package oauth2

import "net/http"

// Token is an access token.
type Token struct{ AccessToken string }

// SetAuthHeader sets the Authorization header of a request.
func (t *Token) SetAuthHeader(r *http.Request) { r.Header.Set("Authorization", "Bearer "+t.AccessToken) }

// TokenSource gives a token.
type TokenSource interface{ Token() (*Token, error) }
