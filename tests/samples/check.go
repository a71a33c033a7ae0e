// Asks verification of examples/go: one question a line, one answer a line.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	relays := map[string]*Relay{}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var question struct {
			URL       string `json:"url"`
			Issuer    string `json:"issuer"`
			ClientID  string `json:"client_id"`
			TxBinding string `json:"tx_binding"`
			Token     string `json:"token"`
			Opened    Opened `json:"opened"`
			Now       int64  `json:"now"`
		}
		if err := json.Unmarshal(lines.Bytes(), &question); err != nil {
			panic(err)
		}
		name := question.URL + question.Issuer + question.ClientID + question.TxBinding
		if relays[name] == nil {
			relay := NewRelay(question.URL, "rk_x", question.ClientID)
			relay.Issuer, relay.TxBinding = question.Issuer, question.TxBinding
			relays[name] = relay
		}
		_, err := relays[name].Verify(context.Background(), question.Token, question.Opened, question.Now)
		if err != nil {
			fmt.Println("refused:", err)
		} else {
			fmt.Println("ok")
		}
	}
}
