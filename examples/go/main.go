// Signs a user in, then has a payment approved. Where it prints, a web application renders a page. The
// user needs a phone and a registered card, the API key the scopes
// ceremony:auth,ceremony:approve,ceremony:read,prior_auth:assert.
//
//	export FIDO_RELAY_URL=http://127.0.0.1:8080 FIDO_RELAY_API_KEY=rk_…
//	go run . ada@example.com
package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

func run(ctx context.Context, relay *Relay, ceremony Ceremony) (*Claims, error) {
	opened, err := relay.Open(ctx, ceremony, Random())
	if err != nil {
		return nil, err
	}
	fmt.Printf("%s: type this code into the app: %s\n", ceremony.Type, opened.Code)
	view, err := relay.Outcome(ctx, opened, func(step string) { fmt.Println(" ", step) })
	if err != nil {
		return nil, err
	}
	if view.Status != "succeeded" {
		return nil, fmt.Errorf("%s (%s)", view.Status, view.Reason)
	}
	claims, err := relay.Verify(ctx, view.Result, opened, time.Now().Unix())
	if err != nil {
		return nil, err
	}
	fmt.Printf("%s: succeeded, verified for %s\n", ceremony.Type, claims.Username)
	return claims, nil
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run . USERNAME")
		os.Exit(2)
	}
	ctx, username := context.Background(), os.Args[1]
	relay, err := Connect(ctx, os.Getenv("FIDO_RELAY_URL"), os.Getenv("FIDO_RELAY_API_KEY"))
	if err == nil {
		if issuer := os.Getenv("FIDO_RELAY_ISSUER"); issuer != "" {
			relay.Issuer = issuer
		}
		_, err = run(ctx, relay, Ceremony{
			Type: "authentication", Username: username,
			Message: "Sign in to Example Bank", PriorAuth: "password",
		})
	}
	var claims *Claims
	if err == nil {
		claims, err = run(ctx, relay, Ceremony{
			Type: "approval", Username: username, PriorAuth: "session",
			Transaction: &Transaction{
				Title:  "Payment to Grace “Amazing” Hopper",
				Fields: []Field{{"Amount", "120.00 €"}, {"Reference", `Rent \ "May" <2>`}},
			},
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("the payment is vouched for by the %s\n", claims.TxBinding)
}
